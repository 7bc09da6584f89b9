"""From an interval to the Score that records it."""

from __future__ import annotations

from typing import Any

from evalkit.records import Score
from evalkit.stats import Interval


def measured(task: str, metric: str, interval: Interval, scale: Any, **facts: Any) -> Score:
    """The Score of an interval that is already on `scale`."""
    return Score(
        task=task,
        metric=metric,
        value=interval.value,
        n=interval.n,
        scale=scale,
        stderr=interval.stderr,
        ci_low=interval.low,
        ci_high=interval.high,
        **facts,
    )
