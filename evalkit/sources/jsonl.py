"""Prompts from a JSONL file of one's own, one JSON object a line.

| a row has                         | which becomes                                       |
|-----------------------------------|-----------------------------------------------------|
| `prompt`                          | a prompt                                            |
| `prompt`, `response`              | a prompt with its gold response                     |
| `prompt`, `chosen`, `rejected`    | a prompt with gold and a worse response             |
| `messages`                        | a conversation; a last assistant turn is the gold   |
| `turns`, `references`?            | a multi-turn question                               |

`prompt` is a text or a list of messages; `chosen` and `rejected` are texts, or lists of messages
that end in the response. `id`, `category` and `rule` may stand in any row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import Field

from evalkit.errors import Problem, RecipeError
from evalkit.records import Message, Prompt, Question, Turn
from evalkit.roles import Options, Source

ROLES = ("system", "user", "assistant")
SHAPES = "prompt | prompt, response | prompt, chosen, rejected | messages | turns"
Row = dict[str, Any]


class JsonlOptions(Options):
    """path: the file. count: only its first so many rows."""

    path: str
    count: int | None = Field(default=None, ge=1)


class RowError(ValueError):
    """What is wrong with one row; `_made` adds file and line."""


class JsonlSource(Source):
    """Prompts and questions in the order of the file."""

    Options: ClassVar[type[Options]] = JsonlOptions
    options: JsonlOptions

    def check(self) -> list[Problem]:
        """A missing file, or the first row that cannot be read."""
        try:
            if not self._rows():
                return [Problem("path", f"{self.options.path} has no rows")]
            self._distinct(lambda name, row: (_question if "turns" in row else _prompt)(name, row))
        except RecipeError as error:
            return [Problem("path", error.message, error.hint)]
        return []

    def prompts(self) -> list[Prompt]:
        """The rows as prompts.

        Raises:
            RecipeError: no such file, or a row of another shape; names file and line.
        """
        return self._distinct(_prompt)

    def questions(self) -> list[Question]:
        """The rows as multi-turn questions, with the errors of `prompts`."""
        return self._distinct(_question)

    def description(self) -> Mapping[str, str]:
        """The file's name, and a digest of its bytes and of how many rows are used."""
        digest = hashlib.sha256(self._bytes())
        if self.options.count is not None:
            digest.update(f"\0{self.options.count}".encode())
        return {"name": Path(self.options.path).name, "digest": digest.hexdigest()}

    def _bytes(self) -> bytes:
        try:
            return Path(self.options.path).read_bytes()
        except OSError as error:
            raise RecipeError(
                f"cannot read {self.options.path}: {error.strerror}", "check the option `path`"
            ) from error

    def _rows(self) -> list[tuple[int, Row]]:
        """Line number (from 1) and object of each line that is not blank."""
        try:
            lines = self._bytes().decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise RecipeError(f"{self.options.path} is not UTF-8 text: {error}") from error
        filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        return [(number, self._parsed(number, line)) for number, line in filled][
            : self.options.count
        ]

    def _parsed(self, number: int, line: str) -> Row:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise self._error(number, f"not JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(row, dict):
            raise self._error(number, "not a JSON object")
        return row

    def _distinct(self, make: Any) -> list[Any]:
        """All rows, made into records; results are kept under their ids, so no two may be equal."""
        lines: dict[str, int] = {}
        records = []
        for number, row in self._rows():
            record = self._made(number, row, make)
            if record.id in lines:
                message = f"the id '{record.id}' is already that of line {lines[record.id]}"
                raise self._error(number, message)
            lines[record.id] = number
            records.append(record)
        return records

    def _made(self, number: int, row: Row, make: Any) -> Any:
        try:
            return make(str(row.get("id", f"row-{number}")), row)
        except RowError as error:
            raise self._error(number, str(error)) from error

    def _error(self, number: int, message: str) -> RecipeError:
        return RecipeError(f"{self.options.path}:{number}  {message}", f"a row has {SHAPES}")


def _prompt(name: str, row: Row) -> Prompt:
    if "messages" in row:
        messages, gold = _split_off_answer(_messages(row, "messages"))
        return _checked(name, row, messages, gold, None)
    if "prompt" not in row:
        raise RowError("neither `prompt` nor `messages`")
    messages = _conversation(row["prompt"])
    if "chosen" in row or "rejected" in row:
        return _checked(name, row, messages, _answer(row, "chosen"), _answer(row, "rejected"))
    gold = _answer(row, "response") if row.get("response") is not None else None
    return _checked(name, row, messages, gold, None)


def _checked(
    name: str, row: Row, messages: tuple[Message, ...], gold: str | None, rejected: str | None
) -> Prompt:
    if not messages or messages[-1].role != "user":
        raise RowError("the prompt does not end in a user turn")
    rule = row.get("rule")
    if rule is not None and not isinstance(rule, dict):
        raise RowError("`rule` is not a mapping")
    return Prompt(name, messages, gold, rejected, rule, str(row.get("category", "")))


def _question(name: str, row: Row) -> Question:
    turns = row.get("turns")
    if not (isinstance(turns, list) and turns and all(isinstance(turn, str) for turn in turns)):
        raise RowError("`turns` is not a list of texts")
    references = row.get("references") or [None] * len(turns)
    if not isinstance(references, list) or len(references) != len(turns):
        raise RowError("`references` has not one entry for each of `turns`")
    pairs = zip(turns, references, strict=True)
    return Question(name, str(row.get("category", "")), tuple(Turn(*pair) for pair in pairs))


def _conversation(value: Any) -> tuple[Message, ...]:
    if isinstance(value, str):
        return (Message("user", value),)
    return _messages({"prompt": value}, "prompt")


def _answer(row: Row, key: str) -> str:
    """The response at `key`: a text, or the last of a list of messages."""
    value = row.get(key)
    if isinstance(value, str):
        return value
    _, answer = _split_off_answer(_messages(row, key))
    if answer is None:
        raise RowError(f"`{key}` does not end in an assistant turn")
    return answer


def _messages(row: Row, key: str) -> tuple[Message, ...]:
    value = row.get(key)
    if not isinstance(value, list):
        raise RowError(f"`{key}` is neither a text nor a list of messages")
    return tuple(_message(key, message) for message in value)


def _message(key: str, value: Any) -> Message:
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        raise RowError(f"a message of `{key}` has no text `content`")
    if value.get("role") not in ROLES:
        raise RowError(f"a message of `{key}` has the role {value.get('role')!r}, not {ROLES}")
    return Message(cast(Any, value["role"]), value["content"])


def _split_off_answer(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], str | None]:
    if messages and messages[-1].role == "assistant":
        return messages[:-1], messages[-1].content
    return messages, None


PLUGIN = JsonlSource
