"""How far two judges agree: on items of their own, and on the order of several models."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import ScoreError
from evalkit.stats import DRAWS, Interval, wilson_interval

Floats = NDArray[np.float64]
Weights = Literal["none", "quadratic"]


class Agreement(NamedTuple):
    """Two judges over the same items.

    raw: part of the items on which they say the same, with its Wilson interval.
    kappa: Cohen's kappa with its bootstrap interval over items; None where chance leaves nothing
        to agree on, as both always say the same.
    """

    raw: Interval
    kappa: Interval | None
    n: int


def agreement(
    a: Sequence[Hashable],
    b: Sequence[Hashable],
    seed: int,
    *,
    weights: Weights = "none",
    draws: int = DRAWS,
) -> Agreement:
    """How far two judges agree on categories; item i is judged a[i] and b[i].

    weights: `quadratic` for numbers, where far apart is worse than near.

    Source: Cohen 1960, A Coefficient of Agreement for Nominal Scales; Cohen 1968 for weights.

    Raises:
        ScoreError: they judged no item, or not the same ones.
    """
    if len(a) != len(b) or not a:
        raise ScoreError(f"agreement needs the same items: {len(a)} and {len(b)}")
    names: list[Hashable] = sorted({*a, *b}, key=str)
    place = {name: index for index, name in enumerate(names)}
    size = len(names)
    cells = [place[one] * size + place[other] for one, other in zip(a, b, strict=True)]
    counts = np.bincount(cells, minlength=size * size)
    cost = costs(names, weights)
    same = sum(one == other for one, other in zip(a, b, strict=True))
    return Agreement(wilson_interval(same, len(a)), _kappa(counts, cost, seed, draws), len(a))


def spearman(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where one side never varies."""
    first, second = _ranks(np.asarray(x, dtype=float)), _ranks(np.asarray(y, dtype=float))
    first, second = first - first.mean(), second - second.mean()
    norm = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / norm if norm else None


def kendall(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> float | None:
    """Kendall's tau-b; None where one side never varies. Source: Kendall 1945."""
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    upper = np.triu_indices(len(first), 1)
    a = np.sign(first[:, None] - first[None, :])[upper]
    b = np.sign(second[:, None] - second[None, :])[upper]
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm else None


def costs(names: Sequence[Hashable], weights: Weights) -> Floats:
    """What it counts for that the one says `names[i]` and the other `names[j]`."""
    if weights == "none":
        return 1.0 - np.eye(len(names))
    values: Floats = np.array(names, dtype=np.float64)
    return np.asarray((values[:, None] - values[None, :]) ** 2)


def _kappa(counts: NDArray[np.int64], cost: Floats, seed: int, draws: int) -> Interval | None:
    n, size = int(counts.sum()), len(cost)
    value = float(kappas(counts[None, :].astype(float), cost, size)[0])
    if math.isnan(value):
        return None
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=draws).astype(float)
    resampled = kappas(drawn, cost, size)
    known = resampled[~np.isnan(resampled)]
    if n < 2 or len(known) < 2:
        return Interval(value, None, None, None, n)
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(value, float(known.std(ddof=1)), float(low), float(high), n)


def kappas(counts: Floats, cost: Floats, size: int) -> Floats:
    """Kappa of each row, a flattened table of what the one and the other said; NaN without one."""
    tables = counts.reshape(len(counts), size, size)
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    seen = (tables * cost).sum(axis=(1, 2))
    by_chance = np.einsum("di,dj,ij->d", rows, columns, cost) / rows.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(by_chance > 0, 1 - seen / by_chance, np.nan))


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray(((last - counts + 1 + last) / 2)[inverse], dtype=np.float64)
