"""A table that ends too early, or whose rows do not fit its head."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.card_reading.tables import Row, Table
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """Heads without rows, and the first row of a table that does not fit."""
    for table in context.card.tables:
        if not table.rows:
            yield Finding(
                table.line,
                "the table has a head and no row",
                evidence=_shown(table.head),
                fix="give it its rows, or take it out",
            )
            continue
        for row in table.rows:
            fault = _fault(table, row)
            if fault:
                yield Finding(row.line, fault, _shown(row), "give each column one cell")
                break


def _fault(table: Table, row: Row) -> str:
    """What is wrong with a row; one that has a single text divides the table and is none."""
    columns = len(table.head.cells)
    filled = [at for at, cell in enumerate(row.cells) if cell.strip()]
    if len(filled) <= 1:
        return ""
    if len(row.cells) < columns:
        return f"the row has {len(row.cells)} cells, the head of its table {columns}"
    if filled[-1] >= columns:
        return f"the row has {filled[-1] + 1} cells, the head {columns}: the rest is not shown"
    return ""


def _shown(row: Row) -> str:
    return " | ".join(row.plain())[:80]


RULE = Rule(
    code="EK308",
    name="cut-table",
    summary="A table has no rows, or a row has more or fewer cells than the head.",
    why="Numbers move under the heading of another column, or are not shown at all.",
    check=check,
    severity="warning",
)
