"""Calibration of a judge: exact where it can be checked, and intervals that mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evalkit.errors import ScoreError
from evalkit.metrics.calibration import calibration

NONE = [None] * 5


def judged(seed: int, anchors: int = 5, items: int = 200, noise: float = 0.3) -> tuple[Any, Any]:
    """Official win probabilities of ever better anchors, and a noisier judge's of the same."""
    draw = np.random.default_rng(seed)
    official = np.clip(
        draw.normal(np.linspace(0.2, 0.7, anchors)[:, None], 0.3, (anchors, items)), 0, 1
    )
    new = np.clip(official + draw.normal(0.05, noise, official.shape), 0, 1)
    return new, official


def test_the_same_judge_agrees_with_itself() -> None:
    _, official = judged(0)
    found = calibration(official, official, NONE, 0, draws=200)
    assert found.win_rates.spearman is not None
    assert found.win_rates.kendall is not None
    assert found.kappa is not None
    assert found.agreement is not None
    assert found.win_rates.spearman[:4] == pytest.approx((1, 0, 1, 1))
    assert found.win_rates.kendall.value == found.kappa.value == found.agreement.value == 1
    assert found.win_rates.offset[:4] == pytest.approx((0, 0, 0, 0))


def test_figures_are_scipy_s_and_scikit_learn_s() -> None:
    stats, metrics = pytest.importorskip("scipy.stats"), pytest.importorskip("sklearn.metrics")
    new, official = judged(1, noise=0.6)
    new[0, :10] = np.nan
    found = calibration(new, official, NONE, 0, draws=300)
    rates = 100 * np.nanmean(new, axis=1), 100 * official.mean(axis=1)
    assert found.win_rates.spearman is not None
    assert found.win_rates.kendall is not None
    assert found.kappa is not None
    assert found.win_rates.spearman.value == pytest.approx(stats.spearmanr(*rates).statistic)
    assert found.win_rates.kendall.value == pytest.approx(stats.kendalltau(*rates).statistic)
    assert [one.rate.value for one in found.win_rates.anchors] == pytest.approx(list(rates[0]))
    assert found.win_rates.offset.value == pytest.approx((rates[0] - rates[1]).mean())
    both = ~np.isnan(new)
    winners = (np.sign(new[both] - 0.5), np.sign(official[both] - 0.5))
    assert found.kappa.value == pytest.approx(metrics.cohen_kappa_score(*winners))
    assert found.kappa.n == both.sum()


def test_an_interval_of_the_offset_has_its_coverage() -> None:
    """Of 100 samples of instructions, about 95 % of intervals hold the true offset."""
    wide, official = judged(2, items=40_000)
    true = 100 * (wide - official).mean()
    held = 0
    for seed in range(100):
        chosen = np.random.default_rng(seed).choice(40_000, 150)
        found = calibration(
            wide[:, chosen], official[:, chosen], NONE, seed, draws=400
        ).win_rates.offset
        held += found.low <= true <= found.high
    assert 89 <= held <= 99


def test_a_published_figure_alone_is_enough_for_order_and_offset() -> None:
    new, official = judged(3)
    stated = list(100 * official.mean(axis=1))
    alone = calibration(new, np.full_like(official, np.nan), stated, 0, draws=200)
    whole = calibration(new, official, NONE, 0, draws=200)
    assert alone.win_rates.offset.value == pytest.approx(whole.win_rates.offset.value)
    assert alone.kappa is None
    assert alone.agreement is None
    # What both judges see of an instruction goes together: paired, the interval is narrower.
    assert alone.win_rates.offset.stderr > whole.win_rates.offset.stderr  # type: ignore[operator]


def test_a_published_figure_stands_and_its_judgements_say_how_it_varies() -> None:
    new, official = judged(6)
    stated = list(100 * official.mean(axis=1) + 2)
    both = calibration(new, official, stated, 0, draws=200)
    assert [one.official for one in both.win_rates.anchors] == pytest.approx(stated)
    paired = calibration(new, official, NONE, 0, draws=200)
    assert both.win_rates.offset.value == pytest.approx(paired.win_rates.offset.value - 2)
    assert both.win_rates.offset.stderr == pytest.approx(paired.win_rates.offset.stderr)


def test_one_anchor_has_no_order() -> None:
    new, official = judged(4, anchors=1)
    found = calibration(new, official, [None], 0, draws=50)
    assert (found.win_rates.spearman, found.win_rates.kendall) == (None, None)
    assert found.agreements[0] is not None


def test_anchors_without_a_side_are_refused() -> None:
    new, official = judged(5)
    with pytest.raises(ScoreError, match="anchor 2 of 5 has no official"):
        calibration(new, np.where(np.arange(5)[:, None] == 1, np.nan, official), NONE, 0)
    with pytest.raises(ScoreError, match="anchor 3 of 5: the judge decided no"):
        calibration(np.where(np.arange(5)[:, None] == 2, np.nan, new), official, NONE, 0)
