"""An average that is not the mean of what it stands with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from evalkit.card_reading import Figure
from evalkit.card_reading.numbers import half_a_step
from evalkit.card_reading.score_tables import Series
from evalkit.card_reading.surroundings import Surroundings
from evalkit.card_reading.task_names import shipped
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_SLACK = 1e-9  # of binary fractions


def check(context: Context) -> Iterator[Finding]:
    """Averages of tables all of whose numbers are understood."""
    around = Surroundings(context.card, shipped())
    for table in context.scores.tables:
        board = around.leaderboard(table.table.line)
        for series in table.models:
            parts = parts_of(series)
            if not parts or (board and _is_part_of_board(series)):
                continue
            if any(is_mean(series.averages[0], one) for one in _choices(series)):
                continue
            average = series.averages[0]
            yield Finding(
                average.line,
                f"the average {average.text} is not the mean of its {len(parts)} scores, "
                f"{_mean(parts):.{average.decimals + 1}f}",
                evidence=" + ".join(part.text for part in parts) + f" = {_sum(parts)}",
                fix="compute it again, or say of which scores it is the mean",
            )


def parts_of(series: Series) -> tuple[Figure, ...]:
    """The scores that a model's one average is of; none where that is not clear."""
    parts = tuple(figure for figure in series.figures if not figure.is_average)
    figures = series.figures
    is_clear = (
        series.is_whole
        and len(series.averages) == 1
        and len(parts) >= 2
        and len({part.task for part in parts}) == len(parts)
        and len({figure.scale for figure in figures}) == 1
        and all(math.isfinite(figure.value) for figure in figures)
    )
    return parts if is_clear else ()


def _is_part_of_board(series: Series) -> bool:
    """Whether a leaderboard averages these tasks and others, which are not shown."""
    return any(series.tasks < set(board) for board in shipped().leaderboards.values())


def is_mean(average: Figure, parts: Sequence[Figure]) -> bool:
    """Whether an average can be the mean of numbers that are rounded as they are shown."""
    rounding = fmean(half_a_step(part.decimals) for part in parts)
    return abs(average.value - _mean(parts)) <= half_a_step(average.decimals) + rounding + _SLACK


def _choices(series: Series) -> Iterator[Sequence[Figure]]:
    """What an average may be of: all scores, those on one side of it, or a leaderboard's tasks."""
    parts = parts_of(series)
    at = next(n for n, figure in enumerate(series.figures) if figure.is_average)
    boards = shipped().leaderboards.values()
    of_boards = (tuple(one for one in parts if one.task in board) for board in boards)
    for choice in (parts, series.figures[:at], series.figures[at + 1 :], *of_boards):
        if len(choice) >= 2:
            yield choice


def _mean(parts: Sequence[Figure]) -> float:
    return fmean(part.value for part in parts)


def _sum(parts: Sequence[Figure]) -> str:
    return f"{math.fsum(part.value for part in parts):.{max(part.decimals for part in parts)}f}"


RULE = Rule(
    code="EK302",
    name="average-mismatch",
    summary="An average is not the mean of the scores it stands with.",
    why="Models are ranked by their averages, and a wrong one is copied without its scores.",
    check=check,
)
