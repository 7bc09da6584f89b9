"""A recovery that does not follow from the scores beside it."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import NamedTuple

from evalkit.card_reading import Figure
from evalkit.card_reading.numbers import half_a_step
from evalkit.card_reading.score_tables import Cell, ScoreTable, Series
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_PARTS = 3.0  # a recovery up to here, without a per cent sign, is a part of 1


class _Pair(NamedTuple):
    baseline: Figure
    variant: Figure


def check(context: Context) -> Iterator[Finding]:
    """Each recovery that is neither variant over baseline nor, of an average, a mean."""
    for table in context.scores.tables:
        for series in table.series if len(table.models) >= 2 else ():
            if series.kind == "recovery":
                yield from _mismatches(table, series)


def _mismatches(table: ScoreTable, recoveries: Series) -> Iterator[Finding]:
    variant = next((one for one in table.models if one.subject.is_own), table.models[-1])
    baselines = [one for one in table.models if one is not variant]
    for cell in recoveries.cells:
        pairs = [
            _Pair(parent, child)
            for baseline in baselines
            if (parent := _at(baseline, cell)) and (child := _at(variant, cell)) and parent.value
        ]
        if not pairs or any(_follows(cell, pair) for pair in pairs):
            continue
        if pairs[0].variant.is_average and _is_mean(cell, recoveries):
            continue
        value = 100 * pairs[0].variant.value / pairs[0].baseline.value
        yield Finding(
            cell.line,
            f"the recovery {cell.written.text} does not follow from {pairs[0].variant.text} and "
            f"{pairs[0].baseline.text}, which give {value:.{max(1, cell.written.decimals)}f} %",
            evidence="recovery is 100 x this model / baseline",
            fix="compute it again from the scores of this row",
        )


def _follows(cell: Cell, pair: _Pair) -> bool:
    """Whether some numbers that are shown as these two give what is shown of their ratio."""
    factor, slack = _scale(cell)
    low, high = (
        factor * (pair.variant.value + sign * half_a_step(pair.variant.decimals))
        / (pair.baseline.value - sign * half_a_step(pair.baseline.decimals))
        for sign in (-1, 1)
    )  # fmt: skip
    return low - slack <= cell.written.value <= high + slack


def _is_mean(cell: Cell, recoveries: Series) -> bool:
    """Whether an average's recovery is the mean of the others, as some compute it."""
    others = [one.written for one in recoveries.cells if one is not cell]
    if not others:
        return False
    rounding = fmean(half_a_step(one.decimals) for one in others)
    mean = fmean(one.value for one in others)
    return abs(mean - cell.written.value) <= rounding + half_a_step(cell.written.decimals) + 1e-9


def _scale(cell: Cell) -> tuple[float, float]:
    is_part = not cell.written.is_percent and cell.written.value <= _PARTS
    return (1.0 if is_part else 100.0), half_a_step(cell.written.decimals) + 1e-9


def _at(series: Series, cell: Cell) -> Figure | None:
    return next((one.figure for one in series.cells if one.position == cell.position), None)


RULE = Rule(
    code="EK304",
    name="derived-mismatch",
    summary="A recovery is not what the scores beside it give.",
    why="Recovery is what a quantized model is chosen by.",
    check=check,
)
