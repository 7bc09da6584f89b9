"""Tokens that a request takes: counted by the server, bounded or estimated before it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from evalkit.records import Message

# A token of a byte-level vocabulary, or of one with byte fallback, is at least one byte. A chat
# template adds marks around every turn, and some add a system prompt of their own.
MARKS_PER_TURN = 16
MARKS_PER_REQUEST = 128
# Measured with GPT-4's vocabulary on the judge prompts of 1,605 published annotations
# (gemma-2b-it and phi-2 against GPT-4-turbo): 4.77 and 4.81 bytes per token, marks included.
BYTES_PER_TOKEN = 4.8


class Usage(NamedTuple):
    """Tokens of a request and of its answer, thoughts that are not shown included."""

    tokens_in: int
    tokens_out: int


def usage_of(body: Any) -> Usage | None:
    """What the server counted, None where it does not say.

    Source: the OpenAI API reference, "Chat Completions", object `usage`.
    """
    usage = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    counts = [usage.get(key, 0) for key in ("prompt_tokens", "completion_tokens")]
    if "prompt_tokens" not in usage or not all(_is_count(count) for count in counts):
        return None
    return Usage(*counts)


def at_most(messages: tuple[Message, ...], body: Mapping[str, Any]) -> Usage | None:
    """A bound that no server's count exceeds; None where nothing bounds the answer."""
    tokens_out = answer_limit(body)
    if tokens_out is None:
        return None
    size_bytes = _size_bytes(messages, body)
    return Usage(size_bytes + MARKS_PER_TURN * len(messages) + MARKS_PER_REQUEST, tokens_out)


def about(messages: tuple[Message, ...], body: Mapping[str, Any]) -> Usage:
    """What to expect of an English text; the answer is taken to be as long as it may be."""
    tokens_in = round(_size_bytes(messages, body) / BYTES_PER_TOKEN)
    return Usage(tokens_in, answer_limit(body) or 0)


def answer_limit(body: Mapping[str, Any]) -> int | None:
    """How many tokens the answers to a request may have, None where it does not say."""
    limits = [
        body[key] for key in ("max_tokens", "max_completion_tokens") if _is_count(body.get(key))
    ]
    answers = body["n"] if _is_count(body.get("n")) else 1
    return max(limits) * answers if limits else None


def _size_bytes(messages: tuple[Message, ...], body: Mapping[str, Any]) -> int:
    size_bytes = sum(len(message.content.encode()) for message in messages)
    return size_bytes + sum(
        len(json.dumps(body[key])) for key in ("tools", "response_format") if key in body
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
