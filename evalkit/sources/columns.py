"""Looks up cells by column: a name, or a dotted path into nested values (`messages.0.content`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from evalkit.errors import did_you_mean
from evalkit.sources.rows import OptionError

Getter = Callable[[Mapping[str, Any]], Any]


def getter(column: str, columns: Collection[str]) -> Getter:
    """A function from a row's values to the cell of `column`, None where the row has none.

    columns: what the table has; a column whose very name has dots in it wins over a path.
    """
    if column in columns or "." not in column:
        return lambda values: values.get(column)
    first, *rest = column.split(".")

    def look_up(values: Mapping[str, Any]) -> Any:
        value: Any = values.get(first)
        for key in rest:
            value = _step(value, key)
        return value

    return look_up


def check_column(column: str, columns: Collection[str], option: str, table: str) -> None:
    """Raises OptionError unless the table has the column, or the first key of the path."""
    if column in columns or column.split(".")[0] in columns:
        return
    raise OptionError(option, f"{table} has no column '{column}'", did_you_mean(column, columns))


def is_blank(value: Any) -> bool:
    """Whether an optional cell holds nothing: absent, null, NaN, an empty list, or only blanks."""
    return value in (None, []) or is_nan(value) or (isinstance(value, str) and not value.strip())


def is_nan(value: Any) -> bool:
    """Whether a cell is the number NaN, which is how pandas writes what is missing."""
    return isinstance(value, float) and value != value


def _step(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, Sequence) and not isinstance(value, str) and key.lstrip("-").isdigit():
        index = int(key)
        return value[index] if -len(value) <= index < len(value) else None
    return None
