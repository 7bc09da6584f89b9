"""Texts and message lists of a cell as records, in every spelling that the field uses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

from evalkit.records import Message
from evalkit.sources.columns import is_blank, is_nan
from evalkit.sources.rows import RowError

Role = Literal["system", "user", "assistant"]
# Source: OpenAI's chat messages; ShareGPT's `from` words (FastChat's data format).
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
}
# Source: Anthropic/hh-rlhf, whose cells are whole transcripts.
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_LIST = re.compile(r"""\s*\[\s*\{\s*(["'])(role|content|from|value)\1\s*:""")
_SAID_BY: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


class Answered(NamedTuple):
    """A response, and the turns before it in the same cell (none where it stands alone)."""

    before: tuple[Message, ...]
    response: str


def text_of(value: Any, column: str, what: str = "") -> str:
    """A cell, or a part of one (`what`), that must be a text with something in it."""
    said = f"{what} " if what else ""
    if value is None:
        raise RowError(column, f"{said}is missing")
    if is_nan(value):
        raise RowError(column, f"{said}is NaN: a missing value")
    if not isinstance(value, str):
        raise RowError(column, f"{said}is {_type(value)}, not a text", "is not a text")
    if not value.strip():
        raise RowError(column, f"{said}is empty", "is empty")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RowError(column, f"{said}has half a character (a lone surrogate)") from None
    return value


def messages_of(value: Any, column: str) -> tuple[Message, ...]:
    """A list of messages, roles in evalkit's words; an empty system message is left out.

    Accepts {role, content} and {from, value}, and JSON text of them, as CSV cells hold.

    Raises:
        RowError: no such list, a role that nobody knows, or a turn that is empty.
    """
    listed = list_of(value, column, "messages")
    if not listed:
        raise RowError(column, "is an empty list of messages")
    found = (_message(item, column, f"turn {n}") for n, item in enumerate(listed, start=1))
    return tuple(one for one in found if one is not None)


def list_of(value: Any, column: str, what: str) -> list[Any]:
    """A cell that must be a list; in a CSV it is JSON text."""
    if value is None:
        raise RowError(column, "is missing")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:  # also of a number that is too long
            raise RowError(column, f"is a text, not a list of {what} (nor JSON of one)") from None
    if not isinstance(value, list):
        raise RowError(column, f"is {_type(value)}, not a list of {what}")
    return value


def conversation_of(value: Any, column: str) -> tuple[Message, ...]:
    """A prompt: a text is one user turn, a list is the conversation so far."""
    value = _unwrapped(value, column)
    if isinstance(value, list):
        return messages_of(value, column)
    return (Message("user", text_of(value, column)),)


def answered(value: Any, column: str) -> Answered:
    """A response: a text, or a list of messages that ends in it."""
    value = _unwrapped(value, column)
    if not isinstance(value, list):
        return Answered((), text_of(value, column))
    messages = messages_of(value, column)
    if not messages or messages[-1].role != "assistant":
        raise RowError(column, "does not end in an assistant's turn")
    return Answered(messages[:-1], messages[-1].content)


def transcript(value: Any, column: str) -> Answered | None:
    """A response at the end of a transcript of `Human:` and `Assistant:` turns; None if none."""
    if not isinstance(value, str) or not value.startswith("\n\nHuman:"):
        return None
    _, *parts = _SPEAKER.split(value)
    turns = [
        Message(_SAID_BY[who], text_of(said.strip(), column, f"turn {number}"))
        for number, (who, said) in enumerate(zip(parts[::2], parts[1::2], strict=True), start=1)
    ]
    if turns[-1].role != "assistant":
        raise RowError(column, "does not end in an Assistant's turn")
    return Answered(tuple(turns[:-1]), turns[-1].content)


def check_turns(messages: tuple[Message, ...], column: str) -> None:
    """Raises RowError unless turns go user, assistant, user..., a system message first at most."""
    start = 1 if messages and messages[0].role == "system" else 0
    wanted: Role = "user"
    for number, message in enumerate(messages[start:], start=start + 1):
        if message.role != wanted:
            raise RowError(
                column, f"turn {number} is the {message.role}'s where the {wanted}'s is due",
                "has turns that do not alternate",
            )  # fmt: skip
        wanted = "assistant" if wanted == "user" else "user"


def with_system(messages: tuple[Message, ...], value: Any, column: str) -> tuple[Message, ...]:
    """The conversation opened by the system message of another column, where that has one."""
    if is_blank(value):
        return messages
    system = Message("system", text_of(value, column))
    if messages and messages[0].role == "system":
        if messages[0] != system:
            raise RowError(column, "differs from the system message of the conversation")
        return messages
    return (system, *messages)


def _unwrapped(value: Any, column: str) -> Any:
    """The list of messages in a cell that has it as text, as CSV must; any other cell as it is."""
    if not isinstance(value, str) or not _LIST.match(value):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise RowError(column, "is a list of messages as Python prints it, not as JSON") from None


def _message(item: Any, column: str, turn: str) -> Message | None:
    if not isinstance(item, Mapping):
        raise RowError(column, f"{turn} is {_type(item)}, not a message", "is no list of messages")
    key = "role" if item.get("role") is not None else "from"
    content = item.get("content", item.get("value"))
    role = item.get(key)
    if role is None:
        keys = ", ".join(str(word) for word in item) or "nothing"
        raise RowError(
            column, f"{turn} has neither 'role' nor 'from', only {keys}", "has turns without a role"
        )
    if not isinstance(role, str) or role.lower() not in ROLES:
        known = "system, user (human) and assistant (gpt)"
        raise RowError(
            column, f"{turn} has the role {role!r}; known are {known}", "has unknown roles"
        )
    known_role = ROLES[role.lower()]
    if known_role == "system" and is_blank(content):
        return None
    return Message(known_role, _content(content, column, turn))


def _content(value: Any, column: str, turn: str) -> str:
    """A message's text; a list of parts (OpenAI's multimodal form) counts if all are texts."""
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        if any(part.get("type") != "text" for part in value):
            raise RowError(column, f"{turn} has parts that are no text", "has parts of no text")
        value = "".join(cast(str, part.get("text") or "") for part in value)
    return text_of(value, column, turn)


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return f"of type {type(value).__name__}"
