"""A row of a table that stands twice, or a model with two rows."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.card_reading.numbers import number_of
from evalkit.card_reading.score_tables import ScoreTable
from evalkit.card_reading.tables import Row
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """Rows of scores that repeat an earlier one, with the same numbers or with others."""
    for table in context.scores.tables:
        scores = {(figure.line, figure.text) for figure in table.figures}
        seen: dict[tuple[str, ...], Row] = {}
        part = ""  # of the table: some rows only head those that follow
        for row in table.table.rows:
            rest = _beside(row, scores)
            filled = [cell for cell in row.plain() if cell]
            part = filled[0] if len(filled) == 1 else part
            if len(rest) == len(row.cells) or not any(rest):
                continue
            first = seen.setdefault((part, *rest), row)
            if first is not row:
                yield _finding(table, first, row)


def _finding(table: ScoreTable, first: Row, row: Row) -> Finding:
    name = next((cell for cell in row.plain() if cell), "")
    what = "stands twice" if first.plain() == row.plain() else "has two rows with other numbers"
    return Finding(
        row.line,
        f"'{name}' {what} in the table of line {table.table.line}",
        evidence=f"first in line {first.line}",
        fix="keep one row, or say how the two differ",
    )


def _beside(row: Row, scores: set[tuple[int, str]]) -> tuple[str, ...]:
    """What a row says beside its scores: whose they are, and how they were asked."""
    return tuple(
        cell
        for column, cell in enumerate(row.plain())
        if not (written := number_of(row.cells[column]))
        or (row.line_of(column), written.text) not in scores
    )


RULE = Rule(
    code="EK309",
    name="doubled-row",
    summary="A row of scores stands twice in one table, or one model has two rows.",
    why="A reader cannot tell which of the two holds.",
    check=check,
    severity="warning",
)
