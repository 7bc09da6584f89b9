"""One score out of those of several tasks, as leaderboards make it: normalised, then averaged.

Source: the documentation of Hugging Face's Open LLM Leaderboard v2, "Scores normalization": what
guessing gives is 0, what is right throughout is 100, and what is below guessing is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from evalkit.errors import ScoreError
from evalkit.records import Score

Z95 = 1.959963984540054
Weights = Literal["equal", "items"]
Errors = Literal["independent", "nested", "same items"]


class Value(NamedTuple):
    """In percent, with its standard error where there is one."""

    value: float
    stderr: float | None

    def normalised(self, guessing: float) -> Value:
        """Percent above guessing, of all that can be above it; `guessing` is 0 to 1.

        The error is scaled by the slope above guessing: of a value that is clamped, whose own error
        is smaller, it is a bound.
        """
        above = max(0.0, self.value / 100 - guessing) / (1 - guessing) * 100
        return Value(above, None if self.stderr is None else self.stderr / (1 - guessing))


def combined(
    scores: Sequence[Score], guessing: Sequence[float], weights: Weights, errors: Errors
) -> Value:
    """The mean of percentages, each normalised by what guessing gives.

    errors: nested: every task's items are among the next one's, and answered alike wherever they
        stand; same items: of several metrics of the same items, the largest error is a bound.

    Raises:
        ScoreError: items weigh or nest, and of some task their number is not known.
    """
    values = [Value(s.value, s.stderr).normalised(g) for s, g in zip(scores, guessing, strict=True)]
    sizes = [size_of(score) if weights == "items" else 1 for score in scores]
    value = sum(v.value * n for v, n in zip(values, sizes, strict=True)) / sum(sizes)
    known = [v.stderr for v in values if v.stderr is not None]
    if errors == "same items":
        return Value(value, max(known, default=None))
    if len(known) < len(values):
        return Value(value, None)
    if errors == "nested":
        return Value(value, _nested(scores, known))
    total = math.sqrt(sum((e * n) ** 2 for e, n in zip(known, sizes, strict=True)))
    return Value(value, total / sum(sizes))


def _nested(scores: Sequence[Score], errors: Sequence[float]) -> float:
    """Of the size-weighted mean of tasks, the smallest first, clustered by item.

    An item of the smallest task counts in all of them: its one answer weighs as often.
    """
    sizes = [size_of(score) for score in scores]
    total = sum(sizes)
    variance = sum(e * e * n * n for e, n in zip(errors, sizes, strict=True)) / total  # of an item
    own = [sizes[0], *(larger - smaller for smaller, larger in pairwise(sizes))]
    weights = range(len(sizes), 0, -1)
    return math.sqrt(variance * sum(n * w * w for n, w in zip(own, weights, strict=True))) / total


def size_of(score: Score) -> int:
    """How many items a score is of.

    Raises:
        ScoreError: nobody says.
    """
    if score.n is None:
        raise ScoreError(f"nothing says how many items {score.metric} of {score.task} is of")
    return score.n
