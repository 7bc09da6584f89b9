"""Models against benchmarks as one table: values, intervals, n, and what must be known beside them.

Built from records alone and rounded once, here. Cards, leaderboards and the
terminal show the same table.
"""

from evalkit.standings.columns import Cell
from evalkit.standings.numbers import (
    EMPTY,
    decimals_of,
    judge_name,
    number,
    unit_of,
    with_interval,
)
from evalkit.standings.protocols import imported_from, result_of
from evalkit.standings.reported import made_of, reported_mean
from evalkit.standings.shown import PlainTable, to_markdown, to_plain
from evalkit.standings.table import Row, Standings, family_standings, sorted_standings

__all__ = [
    "EMPTY",
    "Cell",
    "PlainTable",
    "Row",
    "Standings",
    "decimals_of",
    "family_standings",
    "imported_from",
    "judge_name",
    "made_of",
    "number",
    "reported_mean",
    "result_of",
    "sorted_standings",
    "to_markdown",
    "to_plain",
    "unit_of",
    "with_interval",
]
