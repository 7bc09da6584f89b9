"""A table that says again what another one says."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.card_reading.score_tables import ScoreTable, Series
from evalkit.card_reading.tables import Table
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.names import plain
from evalkit.lint.rule import Rule

_FEWEST = 3  # scores that must be the same
_SHARE = 0.75  # of one table's tasks that the other must have
_FEWEST_ROWS = 2  # of tables without scores that are the same word for word


def check(context: Context) -> Iterator[Finding]:
    """Later tables of scores with the same models and tasks, and later copies of any table."""
    told: set[int] = set()
    tables = context.scores.tables
    for at, later in enumerate(tables):
        earlier = next((one for one in tables[:at] if _says_again(one, later)), None)
        if earlier is not None:
            told.add(later.table.line)
            yield _finding(context, earlier.table, later.table)
    seen: dict[tuple[tuple[str, ...], ...], Table] = {}
    for table in context.card.tables:
        rows = (table.head.plain(), *(row.plain() for row in table.rows))
        first = seen.setdefault(rows, table)
        if first is not table and table.line not in told and len(rows) > _FEWEST_ROWS:
            yield _finding(context, first, table)


def _says_again(one: ScoreTable, other: ScoreTable) -> bool:
    """Whether both score the same models on nearly the same tasks, one all that the other has.

    A summary and a table of details, which are laid out otherwise, are no copies.
    """
    mine, theirs = _by_model(one), _by_model(other)
    if set(mine) != set(theirs) or one.rows_are != other.rows_are:
        return False
    shared = 0
    for name, series in mine.items():
        small, large = sorted((series, theirs[name]), key=lambda item: len(item.tasks))
        if len(small.tasks) < _SHARE * len(large.tasks):
            return False
        for figure in small.figures:
            if figure.is_average:
                continue
            if not any(figure.is_of_same(that) and figure.agrees(that) for that in large.figures):
                return False
            shared += 1
    return shared >= _FEWEST


def _by_model(table: ScoreTable) -> dict[str, Series]:
    return {
        "" if series.subject.is_own else plain(series.subject.name): series
        for series in table.models
    }


def _finding(context: Context, first: Table, second: Table) -> Finding:
    return Finding(
        _start(context, second),
        f"the table in line {second.line} repeats that in line {first.line}",
        evidence=f"lines {first.line} to {first.end} and {second.line} to {second.end}",
        fix="keep one of them",
    )


def _start(context: Context, table: Table) -> int:
    """The line of the heading where the table is the first one of its section."""
    section = context.card.section_of(table.line)
    if section is None:
        return table.line
    is_first = not any(section.line < one.line < table.line for one in context.card.tables)
    return section.line if is_first else table.line


RULE = Rule(
    code="EK307",
    name="duplicate-table",
    summary="A table repeats the scores of another.",
    why="Tools append to cards; when one of the two is brought up to date, the other is not.",
    check=check,
    severity="warning",
)
