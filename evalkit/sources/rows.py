"""Rows of somebody's data: where each stands, and what is wrong with those that are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from evalkit.errors import Problem, RecipeError

SHOWN = 20  # faults told one by one; the rest are counted


class Row(NamedTuple):
    """One row as its file has it.

    number: from 1; of the line where `by_line`, else of the row (a CSV's header is none).
    """

    file: str
    number: int
    values: Mapping[str, Any]
    by_line: bool = False

    @property
    def place(self) -> str:
        """`file:line`, or `file row N`."""
        return place(self.file, self.number, self.by_line)


class Table(NamedTuple):
    """All rows of one split.

    columns: of all rows, in the order in which they first appear.
    files: their names as shown to people.
    faults: lines and records that are no rows at all.
    """

    name: str
    files: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[Row]
    faults: Faults


class RowError(ValueError):
    """What is wrong with one cell.

    kind: the same for all faults of a sort, where the message itself has details.
    """

    def __init__(self, column: str, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.column = column
        self.message = message
        self.kind = kind or message


class OptionError(RecipeError):
    """An option that does not fit the data; `option` is its name, dotted."""

    def __init__(self, option: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.option = option


class Faults:
    """Everything wrong with the rows of a table: the first ones in full, the rest as counts.

    problems: at most SHOWN. counts: rows by column and kind of fault.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.counts: Counter[tuple[str, str]] = Counter()

    @property
    def total(self) -> int:
        """How many rows have a fault."""
        return self.counts.total()

    def add(self, where: str, fault: RowError) -> None:
        """Notes the fault of one row."""
        self.counts[fault.column, fault.kind] += 1
        if len(self.problems) < SHOWN:
            said = f"column '{fault.column}' {fault.message}" if fault.column else fault.message
            self.problems.append(Problem(where, said))

    def error(self, name: str, hint: str) -> RecipeError:
        """One error that carries the faults; the message has the first of them."""
        first = self.problems[0]
        if self.total == 1:
            return RecipeError(f"{first.where}  {first.message}", hint)
        message = f"{name} has {self.total:,} rows that cannot be used"
        return RecipeError(
            f"{message}, first {first.where}  {first.message}",
            f"{hint}; `evalkit data check` shows more",
            self.problems,
        )


def place(file: str, number: int, by_line: bool) -> str:
    """`file:line`, or `file row N`."""
    return f"{file}:{number}" if by_line else f"{file} row {number}"
