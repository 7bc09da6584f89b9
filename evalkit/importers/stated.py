"""Scores of which a file states only the value, the standard error and perhaps how many items."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from evalkit.records import Scale, Score
from evalkit.stats import Interval, stated_interval, wilson_interval


class Stated(NamedTuple):
    """A value with its standard error and 95 % limits; n is None where nothing tells it."""

    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None

    def on(self, scale: Scale, factor: float = 1) -> Stated:
        """The same `factor` times as large, its limits kept within those of percent."""
        value, stderr, low, high = (None if x is None else x * factor for x in self[:4])
        assert value is not None
        if scale == "percent":
            low = None if low is None else max(low, 0.0)
            high = None if high is None else min(high, 100.0)
        return Stated(value, stderr, low, high, self.n)

    def score(
        self, task: str, metric: str, scale: Scale, settings: Mapping[str, Any], **facts: Any
    ) -> Score:
        """The Score of a value that is on `scale` already."""
        return Score(
            task=task,
            metric=metric,
            value=self.value,
            n=self.n,
            scale=scale,
            stderr=self.stderr,
            ci_low=self.low,
            ci_high=self.high,
            settings=settings,
            **facts,
        )


def stated(value: float, stderr: float | None, n: int | None, *, normal: bool = False) -> Stated:
    """With the interval: Wilson where n items were right or wrong, else by the standard error.

    normal: by the normal distribution and not by Student's, as also where n is not known.
    """
    if stderr is None:
        return Stated(value, n=n)
    if n is not None and right_or_wrong(value, stderr, n):
        found: Interval = wilson_interval(round(value * n), n)
    elif n is None:
        return Stated(*stated_interval(value, stderr, 0, normal=True)[:4])
    else:
        found = stated_interval(value, stderr, n, normal=normal)
    return Stated(*found)


def right_or_wrong(value: float, stderr: float, n: int) -> bool:
    """Whether value and standard error are those of n items that each count 0 or 1."""
    if n < 2 or not 0 <= value <= 1 or abs(value * n - round(value * n)) > 1e-6 * n:
        return False
    return math.isclose(stderr, math.sqrt(value * (1 - value) / (n - 1)), rel_tol=1e-6)


def items_told_by(value: float, stderr: float | None) -> int | None:
    """How many items there were, where each counted 0 or 1; None where the numbers do not fit."""
    if not stderr or not 0 < value < 1:
        return None
    n = round(value * (1 - value) / stderr**2 + 1)
    return n if right_or_wrong(value, stderr, n) else None
