"""The L1 solvers: one stops where LIBLINEAR does, the other at the optimum."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evalkit.metrics import liblinear
from evalkit.metrics.l1_newton import fit_l1, sigmoid

Floats = NDArray[np.float64]


def problem(seed: int, n: int, K: int, spread: float) -> tuple[Floats, Floats, Floats]:
    """Features (K, N), won parts and weights, some of each exactly zero."""
    generator = np.random.default_rng(seed)
    features_KN = generator.normal(0, spread, (K, n))
    won_N = sigmoid(generator.normal(0, 2, K) @ features_KN + generator.normal(0, 1, n))
    won_N[generator.random(n) < 0.2] = 1.0
    won_N[generator.random(n) < 0.2] = 0.0
    weights_N = np.where(generator.random(n) < 0.5, 0.1, 1.0)
    weights_N[generator.random(n) < 0.05] = 0.0
    return features_KN, won_N, weights_N


problems = st.builds(
    problem,
    st.integers(0, 10_000),
    st.integers(20, 80),
    st.integers(1, 5),
    st.sampled_from([0.3, 1.0, 6.0]),
)
strengths = st.sampled_from(np.logspace(-4, 4, 10).tolist())


def objective(
    weights_K: Floats, features_KN: Floats, won_N: Floats, weights_N: Floats, C: float
) -> float:
    z_N = weights_K @ features_KN
    losses_N = np.logaddexp(0, z_N) - won_N * z_N
    return float(np.abs(weights_K).sum() + C * weights_N @ losses_N)


def by_scikit_learn(
    features_KN: Floats, won_N: Floats, weights_N: Floats, C: float, random_state: int
) -> Any:
    """Every row twice, once won and once lost, as a classifier of labels needs it."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = linear_model.LogisticRegression(
        C=C, penalty="l1", solver="liblinear", fit_intercept=False, random_state=random_state
    )
    labels = np.repeat([1, 0], len(won_N))
    weights = np.concatenate([weights_N * won_N, weights_N * (1 - won_N)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(np.hstack([features_KN, features_KN]).T, labels, sample_weight=weights)
    return model.coef_[0]


@given(problems, strengths, st.integers(0, 99))
@settings(max_examples=30)
def test_it_stops_where_scikit_learn_s_liblinear_stops(
    rows: tuple[Floats, Floats, Floats], C: float, random_state: int
) -> None:
    (seed,) = liblinear.seeds(random_state, 1)
    ours = liblinear.fit(liblinear.prepare(*rows), C, seed)
    assert ours == pytest.approx(by_scikit_learn(*rows, C, random_state), abs=1e-9)


@pytest.mark.parametrize("C", [10.0, 1000.0])
def test_steps_that_go_too_far_are_halved_alike(C: float) -> None:
    """A few rows with features far out, where a whole Newton step may raise the loss."""
    (seed,) = liblinear.seeds(7, 1)
    for number in range(60):
        generator = np.random.default_rng(number)
        features_KN = generator.normal(0, 6, (3, 8))
        features_KN /= np.maximum(0.05, np.abs(generator.normal(0, 1, (3, 8))))
        p_N = sigmoid(np.clip(generator.normal(0, 2, 3) @ features_KN, -50, 50))
        won_N = np.where(generator.random(8) < 0.6, np.round(p_N), p_N)
        weights_N = np.where(generator.random(8) < 0.5, 0.1, 1.0)
        ours = liblinear.fit(liblinear.prepare(features_KN, won_N, weights_N), C, seed)
        theirs = by_scikit_learn(features_KN, won_N, weights_N, C, 7)
        assert ours == pytest.approx(theirs, abs=1e-9), number


@given(problems, strengths)
def test_the_optimum_is_one(rows: tuple[Floats, Floats, Floats], C: float) -> None:
    features_KN, won_N, weights_N = rows
    (found_K,) = fit_l1(list(features_KN), won_N, weights_N[None], np.array([C]))
    p_N = sigmoid(found_K @ features_KN)
    slope_K = C * features_KN @ (weights_N * (p_N - won_N))
    reach = 1e-6 * max(1.0, C)
    for weight, slope in zip(found_K, slope_K, strict=True):
        if weight == 0:
            assert abs(slope) <= 1 + reach
        else:
            assert slope == pytest.approx(-np.sign(weight), abs=reach)


@given(problems, strengths)
def test_the_early_stop_is_near_the_optimum_and_never_below(
    rows: tuple[Floats, Floats, Floats], C: float
) -> None:
    (best_K,) = fit_l1(list(rows[0]), rows[1], rows[2][None], np.array([C]))
    stopped_K = liblinear.fit(liblinear.prepare(*rows), C, 1)
    best, stopped = objective(best_K, *rows, C), objective(stopped_K, *rows, C)
    assert best - 1e-9 * best <= stopped <= best + 1e-3 * (1 + best)


@given(problems, st.lists(strengths, min_size=2, max_size=4))
def test_problems_solved_together_are_solved_as_alone(
    rows: tuple[Floats, Floats, Floats], many: list[float]
) -> None:
    features_KN, won_N, weights_N = rows
    weights_DN = np.tile(weights_N, (len(many), 1))
    together_DK = fit_l1(list(features_KN), won_N, weights_DN, np.array(many))
    for C, found_K in zip(many, together_DK, strict=True):
        (alone_K,) = fit_l1(list(features_KN), won_N, weights_N[None], np.array([C]))
        assert found_K == pytest.approx(alone_K, abs=1e-5)


@given(problems, strengths, st.floats(-3, 3))
def test_features_that_repeat_one_another_have_an_optimum_too(
    rows: tuple[Floats, Floats, Floats], C: float, factor: float
) -> None:
    """A multiple of a feature, a feature of zeros: many optima, all of one height."""
    features_KN, won_N, weights_N = rows
    more_KN = np.vstack([features_KN, factor * features_KN[:1], np.zeros((1, len(won_N)))])
    (alone_K,) = fit_l1(list(features_KN), won_N, weights_N[None], np.array([C]))
    (found_K,) = fit_l1(list(more_KN), won_N, weights_N[None], np.array([C]))
    assert np.isfinite(found_K).all()
    assert found_K[-1] == 0
    best, found = (
        objective(w_K, x_KN, won_N, weights_N, C)
        for w_K, x_KN in ((alone_K, features_KN), (found_K, more_KN))
    )
    # What is larger is cheaper under the penalty: with it the height is less, and never more.
    assert found <= best + 1e-8 * (1 + best)
    if abs(factor) <= 1:
        assert found == pytest.approx(best, rel=1e-7, abs=1e-9)


def test_random_orders_are_whole_and_endless() -> None:
    """More words are made when the first are used up, and go on as the generator's own."""
    draws = liblinear._Draws(17)
    taken = [draws.below(3) for _ in range(700)]
    words = np.random.RandomState(17).randint(0, 2**32, size=700, dtype=np.uint32)
    assert taken == [int(word) * 3 >> 32 for word in words]
