"""Agreement of judges against scikit-learn's and scipy's own figures, and at the edges."""

import numpy as np
import pytest

from evalkit.errors import ScoreError
from evalkit.metrics.agreement import Weights, agreement, kendall, spearman


@pytest.mark.parametrize("weights", ["none", "quadratic"])
@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_scikit_learn_s(weights: Weights, seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(seed)
    a = draw.integers(1, 11, 80)
    b = np.clip(a + draw.integers(-2, 3, 80), 1, 10)
    found = agreement(a.tolist(), b.tolist(), 0, weights=weights)
    theirs = metrics.cohen_kappa_score(a, b, weights=None if weights == "none" else weights)
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(theirs, abs=1e-12)
    assert found.raw.value == float((a == b).mean())
    assert found.kappa.low < theirs < found.kappa.high


def test_an_interval_of_kappa_has_its_coverage() -> None:
    """Of 200 samples of judges whose true kappa is 0.5, about 95 % of intervals hold it."""
    draw = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        a = draw.integers(0, 2, 150)
        b = np.where(draw.random(150) < 0.25, 1 - a, a)
        kappa = agreement(a.tolist(), b.tolist(), seed, draws=500).kappa
        assert kappa is not None
        held += kappa.low <= 0.5 <= kappa.high  # type: ignore[operator]
    assert 180 <= held <= 199


def test_edges() -> None:
    assert agreement(["a"] * 5, ["a"] * 5, 0).kappa is None
    perfect = agreement(["a", "b"] * 5, ["a", "b"] * 5, 0)
    assert perfect.kappa is not None
    assert perfect.kappa.value == 1
    opposite = agreement(["a", "b"] * 5, ["b", "a"] * 5, 0)
    assert opposite.kappa is not None
    assert opposite.kappa.value == -1
    with pytest.raises(ScoreError, match="the same items"):
        agreement(["a"], [], 0)
    with pytest.raises(ScoreError, match="the same items"):
        agreement([], [], 0)


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlations_are_scipy_s(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(seed)
    x, y = draw.integers(0, 8, 12).tolist(), draw.integers(0, 8, 12).tolist()
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


def test_no_rank_correlation_of_what_never_varies() -> None:
    assert spearman([1, 1], [1, 2]) is None
    assert kendall([1, 2], [3, 3]) is None
