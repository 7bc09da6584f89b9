"""Filters rows: each condition names a column and what must hold of its cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from evalkit.errors import did_you_mean
from evalkit.roles import Options
from evalkit.sources.columns import check_column, getter, is_blank
from evalkit.sources.rows import Row, RowError

Scalar = bool | int | float | str
Test = Callable[[Any], bool]


class Condition(Options):
    """What must hold of one column; of several tests, all must.

    column: whose cells are tested.
    equals, not_equals, in, not_in: compare with values; a text cell `4` equals the number 4.
    contains, not_contains: a part of a text, or a member of a list.
    matches, not_matches: a regular expression found anywhere in a text.
    min, max: bounds of a number, themselves allowed.
    min_chars, max_chars: bounds of a text's characters, or of all texts in a list of messages.
    exists: whether there is anything in the cell.
    """

    column: str
    equals: Scalar | None = None
    not_equals: Scalar | None = None
    one_of: tuple[Scalar, ...] | None = Field(default=None, alias="in")
    not_in: tuple[Scalar, ...] | None = None
    contains: str | None = None
    not_contains: str | None = None
    matches: str | None = None
    not_matches: str | None = None
    min: float | None = None
    max: float | None = None
    min_chars: int | None = Field(default=None, ge=0)
    max_chars: int | None = Field(default=None, ge=0)
    exists: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _known_tests(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            unknown = sorted(str(key) for key in value if key not in known)
            if unknown:
                hint = did_you_mean(unknown[0], known)
                raise ValueError(f"no test of a condition is called '{unknown[0]}': {hint}")
        return value

    @field_validator("matches", "not_matches")
    @classmethod
    def _a_regular_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"no regular expression ({error}): mend '{value}'") from None
        return value

    @model_validator(mode="after")
    def _tests_something(self) -> Self:
        if not self._given():
            raise ValueError(f"a condition on '{self.column}' tests nothing: add exists: true, say")
        return self

    def tests(self) -> list[Test]:
        """One function for each test that is given."""
        return [_TESTS[name](value) for name, value in self._given().items()]

    def _given(self) -> dict[str, Any]:
        every = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: value for name, value in every.items() if value is not None and name in _TESTS
        }


def predicate(
    conditions: Collection[Condition], columns: Collection[str], table: str
) -> Callable[[Row], bool]:
    """Whether a row is kept.

    Raises:
        OptionError: a condition is on a column that the table has not.
    """
    checks = []
    for number, condition in enumerate(conditions):
        check_column(condition.column, columns, f"filter.{number}.column", table)
        checks.append((condition.column, getter(condition.column, columns), condition.tests()))

    def keep(row: Row) -> bool:
        """Raises RowError where a cell cannot be tested (a bound on what is no number)."""
        for column, cell, tests in checks:
            value = cell(row.values)
            try:
                if not all(test(value) for test in tests):
                    return False
            except _NoNumberError as error:
                raise RowError(column, f"is {error}, not a number", "is not a number") from None
        return True

    return keep


class _NoNumberError(ValueError):
    pass


def _same(cell: Any, wanted: Scalar) -> bool:
    """Equal, or equal as written: the cells of a CSV are all texts."""
    if isinstance(cell, str) != isinstance(wanted, str):
        text, other = (cell, wanted) if isinstance(cell, str) else (str(wanted), cell)
        if isinstance(other, bool):
            return text.strip().lower() == str(other).lower()
        return isinstance(other, int | float) and _as_number(text) == other
    if isinstance(cell, bool) != isinstance(wanted, bool):
        return False  # Python's True == 1
    return bool(cell == wanted)


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _has(cell: Any, part: str) -> bool:
    if isinstance(cell, str):
        return part in cell
    return isinstance(cell, list) and any(_same(member, part) for member in cell)


def _number(cell: Any) -> float | None:
    if is_blank(cell):
        return None
    number = _as_number(cell) if isinstance(cell, str) else cell
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _NoNumberError(repr(cell)[:40])
    return number


def _bound(holds: Callable[[float], bool]) -> Test:
    def test(cell: Any) -> bool:
        number = _number(cell)
        return number is not None and holds(number)

    return test


def characters(value: Any) -> int:
    """Characters of a text, or of all message texts in a list."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return characters(value.get("content", value.get("value")))
    if isinstance(value, list | tuple):
        return sum(characters(item) for item in value)
    return 0


def _search(pattern: str) -> Test:
    compiled = re.compile(pattern)
    return lambda cell: isinstance(cell, str) and compiled.search(cell) is not None


def _inverted(test: Test) -> Test:
    return lambda cell: not test(cell)


_TESTS: dict[str, Callable[[Any], Test]] = {
    "equals": lambda wanted: lambda cell: _same(cell, wanted),
    "not_equals": lambda wanted: lambda cell: not _same(cell, wanted),
    "one_of": lambda wanted: lambda cell: any(_same(cell, one) for one in wanted),
    "not_in": lambda wanted: lambda cell: not any(_same(cell, one) for one in wanted),
    "contains": lambda part: lambda cell: _has(cell, part),
    "not_contains": lambda part: lambda cell: not _has(cell, part),
    "matches": _search,
    "not_matches": lambda pattern: _inverted(_search(pattern)),
    "min": lambda bound: _bound(lambda number: number >= bound),
    "max": lambda bound: _bound(lambda number: number <= bound),
    "min_chars": lambda bound: lambda cell: characters(cell) >= bound,
    "max_chars": lambda bound: lambda cell: characters(cell) <= bound,
    "exists": lambda wanted: lambda cell: is_blank(cell) != wanted,
}
