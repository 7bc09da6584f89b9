"""How a new judge's win rates of anchor models lie to the official ones of the same outputs.

Intervals are paired bootstraps over instructions: what they leave out is which models are anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import ScoreError
from evalkit.metrics.agreement import costs, kappas, kendall, spearman
from evalkit.stats import DRAWS, Interval, wilson_interval

# Shapes: M anchor models, N instructions, D draws of the bootstrap.
Floats = NDArray[np.float64]
_BLOCK = 2_000_000  # values of a D x M x M table held at once
_WINNERS = ("model", "baseline", "tie")


class AnchorRate(NamedTuple):
    """A rate of one anchor in percent by both judges, and the new one's minus the official one's.

    offset: in points.
    """

    rate: Interval
    official: float
    offset: Interval


class Rates(NamedTuple):
    """One rate of all anchors; correlations are None of fewer than two, or where one never varies.

    offset: the mean of the anchors' offsets.
    """

    anchors: tuple[AnchorRate, ...]
    spearman: Interval | None
    kendall: Interval | None
    offset: Interval


class Calibration(NamedTuple):
    """Win rates of all anchors, and on how many instructions both judges name the same winner.

    agreements: of each anchor, a part of 1 (Wilson's interval); None where the official judge is
        known by a figure.
    agreement, kappa: over all instructions of all anchors that both judges decided.
    """

    win_rates: Rates
    agreements: tuple[Interval | None, ...]
    agreement: Interval | None
    kappa: Interval | None


def calibration(
    new_MN: Floats,
    official_MN: Floats,
    official_rates: Sequence[float | None],
    seed: int,
    draws: int = DRAWS,
) -> Calibration:
    """Figures of anchors, whose win probabilities by both judges are NaN where there are none.

    new_MN: in 0..1; at least one instruction of every anchor is judged.
    official_MN: the same by the official judge; rows of NaN for anchors with a figure alone.
    official_rates: win rates in percent, as published; None to take the row's mean.

    Raises:
        ScoreError: an anchor has no judged instruction, or no official side at all.
    """
    count, items = new_MN.shape
    known = ~np.isnan(official_MN)
    for row in range(count):
        if np.isnan(new_MN[row]).all():
            raise ScoreError(f"anchor {row + 1} of {count}: the judge decided no instruction")
        if official_rates[row] is None and not known[row].any():
            raise ScoreError(f"anchor {row + 1} of {count} has no official judgements")
    drawn = np.random.default_rng(seed).multinomial(items, [1 / items] * items, size=draws)
    weights_DN: Floats = np.vstack([np.ones(items), drawn]).astype(np.float64)  # first: as it is
    new_DM = _rates(weights_DN, new_MN)
    official_DM = _official_rates(weights_DN, official_MN, official_rates)
    winners = (_winners(new_MN), _winners(official_MN))
    return Calibration(
        win_rates=compare_rates(new_DM, official_DM, (~np.isnan(new_MN)).sum(axis=1).tolist()),
        agreements=tuple(_same(winners[0][m], winners[1][m]) for m in range(count)),
        **_agreement(weights_DN, *winners),
    )


def compare_rates(new_DM: Floats, official_DM: Floats, n_M: Sequence[int]) -> Rates:
    """How rates by a new judge lie to official ones, in percent.

    new_DM, official_DM: the first row holds the figures, the others their paired bootstrap; an
        official figure that is known alone is the same in all.
    n_M: the instructions that the new judge decided.
    """
    return Rates(
        anchors=tuple(
            AnchorRate(
                _interval(new_DM[:, m], n).clipped(0, 100),
                float(official_DM[0, m]),
                _interval(new_DM[:, m] - official_DM[:, m], n),
            )
            for m, n in enumerate(n_M)
        ),
        spearman=_correlation(new_DM, official_DM, "spearman"),
        kendall=_correlation(new_DM, official_DM, "kendall"),
        offset=_interval((new_DM - official_DM).mean(axis=1), len(n_M)),
    )


def _rates(weights_DN: Floats, values_MN: Floats) -> Floats:
    """Win rates in percent of every draw; a draw without a judged instruction repeats the first."""
    judged = ~np.isnan(values_MN)
    sums = weights_DN @ np.where(judged, values_MN, 0.0).T
    with np.errstate(invalid="ignore"):
        rates = 100 * sums / (weights_DN @ judged.T.astype(np.float64))
    return np.asarray(np.where(np.isnan(rates), rates[:1], rates))


def _official_rates(
    weights_DN: Floats, values_MN: Floats, stated: Sequence[float | None]
) -> Floats:
    """As published; where its judgements are there, a draw moves it by what it moves their mean."""
    judged = (~np.isnan(values_MN)).any(axis=1)
    rates = np.zeros((len(weights_DN), len(values_MN)))
    if judged.any():
        rates[:, judged] = _rates(weights_DN, values_MN[judged])
    for m, figure in enumerate(stated):
        if figure is not None:
            rates[:, m] += figure - rates[0, m]
    return rates


def _winners(values_MN: Floats) -> NDArray[np.int64]:
    """0 the model, 1 the baseline, 2 a tie, -1 not decided."""
    found = np.where(values_MN > 0.5, 0, np.where(values_MN < 0.5, 1, 2))
    return np.asarray(np.where(np.isnan(values_MN), -1, found))


def _same(new_N: NDArray[np.int64], official_N: NDArray[np.int64]) -> Interval | None:
    both = (new_N >= 0) & (official_N >= 0)
    same, n = int((new_N == official_N)[both].sum()), int(both.sum())
    return wilson_interval(same, n) if n else None


def _agreement(
    weights_DN: Floats, new_MN: NDArray[np.int64], official_MN: NDArray[np.int64]
) -> dict[str, Interval | None]:
    """Instructions are resampled whole: the answers of all anchors to one go together."""
    size = len(_WINNERS)
    both = (new_MN >= 0) & (official_MN >= 0)
    n = int(both.sum())
    if not n:
        return {"agreement": None, "kappa": None}
    tables = np.zeros((new_MN.shape[1], size * size))
    _, columns = np.nonzero(both)
    np.add.at(tables, (columns, (new_MN * size + official_MN)[both]), 1.0)
    drawn = weights_DN @ tables
    drawn = drawn[drawn.sum(axis=1) > 0]
    same = drawn[:, :: size + 1].sum(axis=1) / drawn.sum(axis=1)
    kappa = kappas(drawn, costs(_WINNERS, "none"), size)
    return {
        "agreement": _interval(same, n).clipped(0, 1),
        "kappa": None if np.isnan(kappa[0]) else _interval(kappa[~np.isnan(kappa)], n),
    }


def _correlation(new_DM: Floats, official_DM: Floats, kind: str) -> Interval | None:
    count = new_DM.shape[1]
    exact = spearman if kind == "spearman" else kendall
    value = None if count < 2 else exact(new_DM[0], official_DM[0])
    if value is None:
        return None
    size = max(1, _BLOCK // count**2)
    drawn = np.concatenate(
        [
            _correlations(new_DM[at : at + size], official_DM[at : at + size], kind)
            for at in range(0, len(new_DM), size)
        ]
    )
    return _interval(drawn[~np.isnan(drawn)], count)._replace(value=value).clipped(-1, 1)


def _correlations(a_DM: Floats, b_DM: Floats, kind: str) -> Floats:
    """Of every draw. Signs of all differences give tau-b, and their sums the ranks."""
    a, b = (np.sign(x[:, :, None] - x[:, None, :]) for x in (a_DM, b_DM))
    if kind == "spearman":
        a, b = a.sum(axis=2), b.sum(axis=2)
    axes = tuple(range(1, a.ndim))
    with np.errstate(invalid="ignore", divide="ignore"):
        norm = np.sqrt((a * a).sum(axis=axes) * (b * b).sum(axis=axes))
        return np.asarray((a * b).sum(axis=axes) / norm)


def _interval(drawn: Floats, n: int) -> Interval:
    """The first is the figure itself, the rest its bootstrap."""
    if len(drawn) < 3:
        return Interval(float(drawn[0]), None, None, None, n)
    low, high = np.quantile(drawn[1:], [0.025, 0.975])
    return Interval(float(drawn[0]), float(drawn[1:].std(ddof=1)), float(low), float(high), n)
