"""How much of its parent's scores a quantized model keeps, with paired intervals.

Recovery is the variant's score over the parent's. Both are resampled together, item by item, so
that what is hard for both does not widen the interval of what they differ in.
Legend: D draws, S items of a stratum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import ScoreError
from evalkit.fingerprint import derive_seed

DRAWS = 10_000
CONFIDENCE = 0.95
_BLOCK = 4_000_000  # resampled values held at once (32 MB)

Floats = NDArray[np.float64]


class Stratum(NamedTuple):
    """Items of one task on which both models were measured, in the same order.

    guessing: what chance gives, as a part of `top`; it counts as 0, and so does what lies below.
    weight: among the strata of its task.
    """

    parent_S: Sequence[float]
    variant_S: Sequence[float]
    weight: float = 1.0
    guessing: float = 0.0


class Task(NamedTuple):
    """One line of a table of recovery: a score, or the weighted mean of several.

    top: the best score there is, on the scale of the items. guessing: of the mean.
    """

    label: str
    strata: tuple[Stratum, ...]
    top: float
    guessing: float = 0.0


class Recovery(NamedTuple):
    """Scores on the task's own scale; share and limits as parts of the parent's score.

    share, low, high: None where the parent's score, or that of some draw, is not above 0.
    """

    label: str
    parent: float
    variant: float
    share: float | None
    low: float | None
    high: float | None
    n: int


def recoveries(
    tasks: Sequence[Task], seed: int, average: str = "Average", draws: int = DRAWS
) -> list[Recovery]:
    """The recovery of each task, and last that of the mean of all.

    Tasks count alike in the mean, on their common scale if they have one, else as percentages of
    their best scores.

    Raises:
        ScoreError: there is no task, or one of them has no items.
    """
    if not tasks:
        raise ScoreError("nothing was measured of both models item by item")
    found = [_drawn(task, seed, draws) for task in tasks]
    lines = [_line(task.label, one, _items(task)) for task, one in zip(tasks, found, strict=True)]
    tops = {task.top for task in tasks}
    scale = tops.pop() if len(tops) == 1 else 100.0
    parts = [
        np.stack([one[side] / task.top * scale for task, one in zip(tasks, found, strict=True)])
        for side in (0, 1)
    ]
    mean = (parts[0].mean(axis=0), parts[1].mean(axis=0))
    return [*lines, _line(average, mean, sum(map(_items, tasks)))]


def _items(task: Task) -> int:
    return sum(len(stratum.parent_S) for stratum in task.strata)


def _line(label: str, drawn: tuple[Floats, Floats], n: int) -> Recovery:
    """The first entry is what was measured, the others are draws."""
    parent_D, variant_D = drawn
    parent, variant = float(parent_D[0]), float(variant_D[0])
    if (parent_D <= 0).any():
        share = variant / parent if parent > 0 else None
        return Recovery(label, parent, variant, share, None, None, n)
    share_D = variant_D / parent_D
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(share_D[1:], [tail, 1 - tail])
    return Recovery(label, parent, variant, float(share_D[0]), float(low), float(high), n)


def _drawn(task: Task, seed: int, draws: int) -> tuple[Floats, Floats]:
    """Scores of parent and variant: measured, then of each draw."""
    totals = np.zeros((2, 1 + draws))
    for number, stratum in enumerate(task.strata):
        pairs_2S = np.array([stratum.parent_S, stratum.variant_S], dtype=np.float64)
        if not pairs_2S.size or not np.isfinite(pairs_2S).all():
            raise ScoreError(f"{task.label} has items without a score, or no items at all")
        means = _means(pairs_2S, derive_seed(seed, task.label, number), draws)
        totals += stratum.weight * _above(means, stratum.guessing, task.top)
    totals /= sum(stratum.weight for stratum in task.strata)
    parent, variant = _above(totals, task.guessing, task.top)
    return parent, variant


def _above(values: Floats, guessing: float, top: float) -> Floats:
    """What lies above guessing, of all that can. Source: as `metrics.combined`."""
    if not guessing:
        return values
    return np.maximum(values - guessing * top, 0.0) / (1 - guessing)


def _means(pairs_2S: Floats, seed: int, draws: int) -> Floats:
    """Means of both rows, measured and resampled by column: (2, 1 + D)."""
    generator, n = np.random.default_rng(seed), pairs_2S.shape[1]
    kinds, counts = np.unique(pairs_2S, axis=1, return_counts=True)
    if kinds.shape[1] * 4 <= n:  # right or wrong: a multinomial over few kinds is the same
        drawn = generator.multinomial(n, counts / n, size=draws)
        resampled = kinds @ drawn.T / n
    else:
        size = max(1, min(draws, _BLOCK // n))
        blocks = [min(size, draws - start) for start in range(0, draws, size)]
        parts = [pairs_2S[:, generator.integers(0, n, size=(b, n))].mean(axis=2) for b in blocks]
        resampled = np.concatenate(parts, axis=1)
    return np.concatenate([pairs_2S.mean(axis=1, keepdims=True), resampled], axis=1)
