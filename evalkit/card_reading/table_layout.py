"""How a table of scores is laid out: which of its rows or columns are models, and which tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

from evalkit.card_reading.numbers import number_of
from evalkit.card_reading.tables import Row, Table
from evalkit.card_reading.task_names import AVERAGE, ColumnKind, Name, Vocabulary

# Columns that say something of the scores beside them and hold none.
_BESIDE: tuple[ColumnKind, ...] = ("task", "shots", "metric", "spread", "size", "other")
_FEWEST_TASKS = 2  # among the headings, from which on the rows are models
_LABELS = 3  # columns from the left among which the tasks are looked for


class Label(NamedTuple):
    """The text that names a model, as written, and its line; empty text where none is named."""

    text: str
    line: int


class Layout(NamedTuple):
    """A table as models by tasks, whichever way round it is written.

    tasks: None for what is not understood. cells: of each model by task, as written, with lines.
    """

    rows_are: Literal["models", "tasks"]
    models: tuple[Label, ...]
    tasks: tuple[Name | None, ...]
    cells: tuple[Mapping[int, Label], ...]
    has_spread: bool


def layout_of(table: Table, vocabulary: Vocabulary) -> Layout | None:
    """The layout of a table of scores; None for other tables."""
    heads = [
        None if _is_beside(vocabulary, head) else vocabulary.name_of(head)
        for head in table.head.cells
    ]
    column = _task_column(table, vocabulary)
    if column is not None and _tasks(heads) < _FEWEST_TASKS:
        return _tasks_as_rows(table, vocabulary, column)
    if any(name and name.kind != "recovery" for name in heads):
        return _models_as_rows(table, vocabulary, heads)
    return None


def _tasks(names: Iterable[Name | None]) -> int:
    return sum(name is not None and name.task is not None for name in names)


def _task_column(table: Table, vocabulary: Vocabulary) -> int | None:
    for column in range(min(_LABELS, len(table.head.cells))):
        texts = [text for row in table.rows if (text := _text(row, column))]
        names = [name for text in texts if (name := vocabulary.name_of(text))]
        is_said = vocabulary.is_column("task", table.head.cells[column])
        tasks = [name for name in names if is_said or name.task not in (None, AVERAGE)]
        if tasks and (is_said or len(names) * 2 >= len(texts)):
            return column
    return None


def _tasks_as_rows(table: Table, vocabulary: Vocabulary, labels: int) -> Layout:
    heads = table.head.cells
    columns = [
        column
        for column, head in enumerate(heads)
        if column != labels and head.strip() and not _is_beside(vocabulary, head)
    ]
    models = tuple(Label(heads[column], table.head.line_of(column)) for column in columns)
    cells = tuple(
        {
            task: Label(text, row.line_of(column))
            for task, row in enumerate(table.rows)
            if (text := _text(row, column))
        }
        for column in columns
    )
    names = tuple(_row_names(table, vocabulary, labels))
    return Layout("tasks", models, names, cells, _has_spread(table, vocabulary))


def _row_names(table: Table, vocabulary: Vocabulary, labels: int) -> Iterator[Name | None]:
    """What each row scores; in lm-eval's tables a row without a task goes on with the last one."""
    columns = {
        kind: [at for at, head in enumerate(table.head.cells)
               if at != labels and vocabulary.is_column(kind, head)]
        for kind in ("metric", "shots")
    }  # fmt: skip
    last = ""
    for row in table.rows:
        last = _text(row, labels) or (last if columns["metric"] else "")
        name = vocabulary.name_of(last) if last else None
        for column in columns["metric"] if name else ():
            said = vocabulary.name_of(_text(row, column))
            name = replace(name, metric=said.metric) if name and said and said.metric else name
        for column in columns["shots"] if name else ():
            number = number_of(_text(row, column))
            if name and number:
                settings = {**name.settings, "few_shot": int(number.value)}
                name = replace(name, settings=settings)
        yield name


def _models_as_rows(table: Table, vocabulary: Vocabulary, heads: list[Name | None]) -> Layout:
    labels = next(
        (at for at in range(len(heads)) if _names_models(table, vocabulary, heads, at)), None
    )
    columns = [
        at
        for at, head in enumerate(table.head.cells)
        if at != labels
        and not _is_beside(vocabulary, head)
        and (heads[at] or _has_numbers(table, at))
    ]
    models = tuple(
        Label("" if labels is None else _text(row, labels), row.line) for row in table.rows
    )
    cells = tuple(
        {
            task: Label(text, row.line_of(column))
            for task, column in enumerate(columns)
            if (text := _text(row, column)) and (labels is None or label.text)
        }
        for row, label in zip(table.rows, models, strict=True)
    )
    names = tuple(heads[column] for column in columns)
    return Layout("models", models, names, cells, _has_spread(table, vocabulary))


def _names_models(
    table: Table, vocabulary: Vocabulary, heads: list[Name | None], column: int
) -> bool:
    """Whether a column names models: its heading is no task, and its cells are text."""
    said = vocabulary.is_column("model", table.head.cells[column])
    is_open = heads[column] is None and not _is_beside(vocabulary, table.head.cells[column])
    return said or (is_open and not _has_numbers(table, column))


def _has_numbers(table: Table, column: int) -> bool:
    return any(number_of(_text(row, column)) for row in table.rows)


def _has_spread(table: Table, vocabulary: Vocabulary) -> bool:
    return any(vocabulary.is_column("spread", head) for head in table.head.cells)


def _is_beside(vocabulary: Vocabulary, head: str) -> bool:
    return any(vocabulary.is_column(kind, head) for kind in _BESIDE)


def _text(row: Row, column: int) -> str:
    return row.cells[column] if column < len(row.cells) else ""
