"""What a chat-completions response says: text, log-probabilities, or why there is neither."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from evalkit.chat_client.usage import Usage, usage_of


class ChatAnswer(NamedTuple):
    """A model's answer, or the reason why there is none.

    text: None where there is no answer. Where the model called a function, its arguments.
    logprobs: for each token of the answer those that could have stood there, with their
        log-probabilities (nats); None where the server gave none.
    reason: why there is no text.
    model: which model answered, by the response itself; empty where it does not say.
    usage: what the server counted, None where it does not say.
    """

    text: str | None
    logprobs: tuple[Mapping[str, float], ...] | None = None
    reason: str = ""
    model: str = ""
    usage: Usage | None = None


class MalformedError(ValueError):
    """A response that is no chat completion; it may be one the next time.

    usage: what the server counted for it all the same.
    """

    def __init__(self, reason: str, usage: Usage | None = None) -> None:
        super().__init__(reason)
        self.usage = usage


def parse(content: bytes) -> ChatAnswer:
    """The first choice of a response's body.

    Source: the OpenAI API reference, "Chat Completions", object `chat.completion`.

    Raises:
        MalformedError: the body is cut off, is no JSON, or has no choice in it.
    """
    try:
        body = json.loads(content)
    except ValueError as error:
        raise MalformedError(f"the response is not JSON: {error}") from error
    choices, usage = body.get("choices") if isinstance(body, Mapping) else None, usage_of(body)
    if not isinstance(choices, list) or not choices:
        raise MalformedError("the response has no choices", usage)
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise MalformedError("the first choice has no message", usage)
    model = body.get("model")
    answer = _answer(choice, message)
    return answer._replace(model=model if isinstance(model, str) else "", usage=usage)


def _answer(choice: Mapping[str, Any], message: Mapping[str, Any]) -> ChatAnswer:
    if message.get("refusal"):
        return ChatAnswer(None, reason=f"the model refused: {message['refusal']}")
    if choice.get("finish_reason") == "content_filter":
        return ChatAnswer(None, reason="the server's content filter held the answer back")
    text = _called_with(message) or message.get("content")
    logprobs = _logprobs(choice.get("logprobs"))
    if not isinstance(text, str) or not (text or logprobs):
        cut = " before its token limit" if choice.get("finish_reason") == "length" else ""
        return ChatAnswer(None, reason=f"the answer has no text{cut}")
    return ChatAnswer(text, logprobs)


def _called_with(message: Mapping[str, Any]) -> str:
    """The arguments of the function that the model called, as JSON text; empty where it did not."""
    try:
        return str(message["tool_calls"][0]["function"]["arguments"])
    except (TypeError, KeyError, IndexError):
        return ""


def _logprobs(logprobs: Any) -> tuple[dict[str, float], ...] | None:
    """Token by token; None for any other shape."""
    try:
        found = tuple(_top_logprobs(token["top_logprobs"]) for token in logprobs["content"])
    except (TypeError, KeyError, ValueError):
        return None
    return found if found and all(found) else None


def _top_logprobs(rows: Any) -> dict[str, float]:
    found = {str(row["token"]): float(row["logprob"]) for row in rows}
    return {token: value for token, value in found.items() if not math.isnan(value)}
