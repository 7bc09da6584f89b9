"""What a chat-completions response says: text, log-probabilities, or why there is neither."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class ChatAnswer(NamedTuple):
    """A model's answer, or the reason why there is none.

    text: None where there is no answer.
    top_logprobs: tokens that could have come first, with their log-probabilities (nats); None
        where the server gave none.
    reason: why there is no text.
    """

    text: str | None
    top_logprobs: Mapping[str, float] | None = None
    reason: str = ""


class MalformedError(ValueError):
    """A response that is no chat completion; it may be one the next time."""


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
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or not choices:
        raise MalformedError("the response has no choices")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise MalformedError("the first choice has no message")
    return _answer(choice, message)


def _answer(choice: Mapping[str, Any], message: Mapping[str, Any]) -> ChatAnswer:
    if message.get("refusal"):
        return ChatAnswer(None, reason=f"the model refused: {message['refusal']}")
    if choice.get("finish_reason") == "content_filter":
        return ChatAnswer(None, reason="the server's content filter held the answer back")
    text = message.get("content")
    logprobs = _top_logprobs(choice.get("logprobs"))
    if not isinstance(text, str) or not (text or logprobs):
        cut = " before its token limit" if choice.get("finish_reason") == "length" else ""
        return ChatAnswer(None, reason=f"the answer has no text{cut}")
    return ChatAnswer(text, logprobs)


def _top_logprobs(logprobs: Any) -> dict[str, float] | None:
    """Of the first token; None for any other shape."""
    try:
        rows = logprobs["content"][0]["top_logprobs"]
        found = {str(row["token"]): float(row["logprob"]) for row in rows}
    except (TypeError, KeyError, IndexError, ValueError):
        return None
    return {token: value for token, value in found.items() if not math.isnan(value)} or None
