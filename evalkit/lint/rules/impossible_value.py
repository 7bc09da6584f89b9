"""A figure that its scale does not allow."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from evalkit.card_reading import Figure
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

# Source: MT-Bench's judge rates from 1 to 10 (Zheng et al. 2023, appendix); some write it of 100.
_HIGHEST = {"percent": 100.0, "unit": 1.0, "rating": 10.0}
# Correlations, and what grows without bound in both directions; CoLA is scored by a correlation.
_SIGNED = re.compile(
    r"mcc|matthews|pearson|spearman|kendall|corr|kappa|cola\b|loss|log[ _-]?p|reward|elo|r2",
    re.IGNORECASE,
)


def check(context: Context) -> Iterator[Finding]:
    """Figures that are not finite, negative, or above the highest of their scale."""
    for figure in context.scores.figures:
        fault = _fault(figure)
        if fault:
            yield Finding(
                figure.line,
                f"{figure.text} on {figure.task} {fault}",
                evidence=figure.text,
                fix="correct the number; leave a score that failed out",
            )


def _fault(figure: Figure) -> str:
    if not math.isfinite(figure.value):
        return "is no number"
    highest = _HIGHEST.get(figure.scale, math.inf)
    if figure.value > highest:
        return f"is more than {highest:g}, the most that can be"
    may_be_negative = _SIGNED.search(f"{figure.task} {figure.metric}")
    return "is less than nothing" if figure.value < 0 and not may_be_negative else ""


RULE = Rule(
    code="EK316",
    name="impossible-value",
    summary="A figure is not finite, negative, or above what its scale allows.",
    why="It is a failed evaluation or a slip, and spoils every average it is part of.",
    check=check,
)
