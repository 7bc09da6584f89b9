"""Turns rows of a recognised shape into prompts and questions, or says what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from evalkit.records import Message, Prompt, Question, Turn
from evalkit.sources.columns import Getter, getter, is_blank
from evalkit.sources.conversations import (
    Answered,
    answered,
    check_turns,
    conversation_of,
    list_of,
    messages_of,
    text_of,
    transcript,
    with_system,
)
from evalkit.sources.rows import Row, RowError
from evalkit.sources.selection import Record
from evalkit.sources.shapes import (
    ANSWERED,
    CONVERSATIONS,
    PAIRS,
    PROMPTS,
    QUESTIONS,
    Recognised,
    Shape,
)

Make = Callable[[Row, str], Record]  # of a row and its id


def maker(found: Recognised, columns: Collection[str]) -> Make:
    """A function that makes the record of a row, given the id that it has without one of its own.

    It raises RowError where the row is not of the shape.
    """
    cells = {field: getter(column, columns) for field, column in found.columns.items()}
    return _Maker(found, cells).make


class _Maker:
    def __init__(self, found: Recognised, cells: dict[str, Getter]) -> None:
        self.found = found
        self.names = found.columns
        self.cells = cells
        fill: dict[Shape, Make] = {
            QUESTIONS: self._question,
            PAIRS: self._pair,
            CONVERSATIONS: self._conversation,
            ANSWERED: self._answered,
            PROMPTS: self._prompt,
        }
        self.fill = fill[found.shape]

    def make(self, row: Row, fallback_id: str) -> Record:
        required = self.found.shape.required
        if all(self.cells[field](row.values) is None for field in required):
            has = ", ".join(name for name, value in row.values.items() if value is not None)
            wanted = " and ".join(f"'{self.names[field]}'" for field in required)
            raise RowError(
                "",
                f"has no {wanted}: among {self.found.shape.label} it holds {has or 'nothing'}",
                "rows of another shape",
            )
        return self.fill(row, self._id(row, fallback_id))

    def _cell(self, row: Row, field: str) -> Any:
        cell = self.cells.get(field)
        return None if cell is None else cell(row.values)

    def _id(self, row: Row, fallback: str) -> str:
        value = self._cell(row, "id")
        if is_blank(value):
            return fallback
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # pandas writes whole numbers so where some are missing
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise RowError(self.names["id"], "is neither a text nor a whole number")
        return str(value)

    def _category(self, row: Row) -> str:
        value = self._cell(row, "category")
        return "" if is_blank(value) else str(value)

    def _made(
        self,
        row: Row,
        name: str,
        messages: tuple[Message, ...],
        column: str,
        gold: str | None = None,
        rejected: str | None = None,
    ) -> Prompt:
        """The prompt, after checking its turns. column: where the messages come from."""
        if "system" in self.cells:
            messages = with_system(messages, self._cell(row, "system"), self.names["system"])
        check_turns(messages, column)
        if not messages or messages[-1].role != "user":
            raise RowError(column, "has no user's turn to answer")
        return Prompt(name, messages, gold, rejected, self._rule(row), self._category(row))

    def _rule(self, row: Row) -> Any:
        value = self._cell(row, "rule")
        if is_blank(value):
            return None
        column = self.names["rule"]
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:  # also of a number that is too long
                raise RowError(column, "is no JSON") from None
        if not isinstance(value, dict):
            raise RowError(column, "is not an object with a kind")
        # Parquet fills in null for keys that only other rows have.
        return {key: item for key, item in value.items() if item is not None}

    # --- shapes -----------------------------------------------------------------------------

    def _prompt(self, row: Row, name: str) -> Prompt:
        return self._made(row, name, self._asked(row), self.names["prompt"])

    def _answered(self, row: Row, name: str) -> Prompt:
        column = self.names["response"]
        before, gold = answered(self._cell(row, "response"), column)
        messages = self._asked(row)
        if before and before != messages:
            raise RowError(column, f"repeats other turns than those of '{self.names['prompt']}'")
        return self._made(row, name, messages, self.names["prompt"], gold)

    def _conversation(self, row: Row, name: str) -> Prompt:
        column = self.names["messages"]
        messages = messages_of(self._cell(row, "messages"), column)
        gold = None
        if messages and messages[-1].role == "assistant":
            messages, gold = messages[:-1], messages[-1].content
        return self._made(row, name, messages, column, gold)

    def _pair(self, row: Row, name: str) -> Prompt:
        chosen, rejected = self._response(row, "chosen"), self._response(row, "rejected")
        if chosen.before and rejected.before and chosen.before != rejected.before:
            raise RowError(
                self.names["rejected"], f"parts from '{self.names['chosen']}' before the last turn"
            )
        if chosen.response.strip() == rejected.response.strip():
            raise RowError(self.names["rejected"], f"is the same as '{self.names['chosen']}'")
        messages = self._shared(row, chosen.before or rejected.before)
        column = self.names["prompt" if "prompt" in self.names else "chosen"]
        return self._made(row, name, messages, column, chosen.response, rejected.response)

    def _question(self, row: Row, name: str) -> Question:
        column = self.names["turns"]
        listed = list_of(self._cell(row, "turns"), column, "texts")
        if not listed:
            raise RowError(column, "is an empty list")
        turns = [text_of(turn, column, f"turn {n}") for n, turn in enumerate(listed, start=1)]
        pairs = zip(turns, self._references(row, len(turns)), strict=True)
        return Question(name, self._category(row), tuple(Turn(*pair) for pair in pairs))

    # --- parts ------------------------------------------------------------------------------

    def _asked(self, row: Row) -> tuple[Message, ...]:
        """The prompt's messages; an Alpaca input stands below its instruction."""
        column, value = self.names["prompt"], self._cell(row, "prompt")
        extra = self._cell(row, "input")
        if not is_blank(extra):
            below = text_of(extra, self.names["input"])
            return (Message("user", f"{text_of(value, column)}\n\n{below}"),)
        return conversation_of(value, column)

    def _response(self, row: Row, field: str) -> Answered:
        column, value = self.names[field], self._cell(row, field)
        whole = transcript(value, column) if "prompt" not in self.names else None
        return whole or answered(value, column)

    def _shared(self, row: Row, before: tuple[Message, ...]) -> tuple[Message, ...]:
        """The prompt of a pair: the turns that both responses share, or its own column."""
        if "prompt" not in self.names:
            if not before:
                raise RowError(
                    self.names["chosen"], "is a response alone, and no column has the prompt"
                )
            return before
        asked = self._asked(row)
        if not before:
            return asked
        if any(_ends_with(before[:end], asked) for end in range(1, len(before) + 1)):
            return before  # the prompt may be but one of the turns
        if _ends_with(asked, before):
            return asked  # not all is repeated: a system message and earlier turns may be left out
        raise RowError(
            self.names["chosen"], f"has other turns than '{self.names['prompt']}' before it"
        )

    def _references(self, row: Row, count: int) -> list[str | None]:
        value = self._cell(row, "references")
        if is_blank(value):
            return [None] * count
        column = self.names["references"]
        listed = list_of(value, column, "texts")
        if not listed:  # the text `[]` of a CSV
            return [None] * count
        if len(listed) != count:
            raise RowError(
                column, f"has {len(listed)} entries for {count} turns", "has not one per turn"
            )
        return [None if is_blank(one) else text_of(one, column) for one in listed]


def _ends_with(messages: tuple[Message, ...], tail: tuple[Message, ...]) -> bool:
    """Whether the last messages are those of `tail`, whatever blanks stand around their texts."""
    said = [(message.role, message.content.strip()) for message in messages]
    wanted = [(message.role, message.content.strip()) for message in tail]
    return len(wanted) <= len(said) and said[len(said) - len(wanted) :] == wanted
