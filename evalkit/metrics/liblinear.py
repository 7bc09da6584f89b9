"""L1-regularised logistic regression as LIBLINEAR solves it, its early stop included.

Published coefficients are where this solver stopped, which is not yet the optimum: whoever wants
the same numbers needs the same path. Few features: all is said by their small Hessian.

Legend: N rows, K features, S pairs of features, in both orders.

Source: Yuan, Ho and Lin, An Improved GLMNET for L1-regularized Logistic Regression, JMLR 13
(2012), algorithms 1 to 4; Fan et al., LIBLINEAR, JMLR 9 (2008), for the stopping tolerance;
the constants and the random numbers are those of the release in scikit-learn 1.9.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-4
_NEWTON_STEPS = 100
_SWEEPS = 1000
_HALVINGS = 20
_IDLE_STEPS = 10  # Newton steps in a row that may leave every weight where it is
_RIDGE = 1e-12  # added to the Hessian's diagonal
_SMALLEST, _LARGEST = 1e-12, 10.0  # moves of one weight
_DECREASE = 0.01  # of what the first order promises, so much must be kept
_WORD, _LOW = 1 << 32, (1 << 32) - 1

Floats = NDArray[np.float64]


class Rows(NamedTuple):
    """Rows to fit, each both won and lost in part, with what every fit of them needs.

    features_KN; weights_N: of a row as a whole.
    scaled_KN, products_SN: features, and products of each two of them, times the weight.
    won_K, lost_K: sums of the features, weighted with the row's won and lost part.
    reach_K: the largest size of each feature.
    n_won, n_lost: rows with such a part, as LIBLINEAR counts them.
    """

    features_KN: Floats
    weights_N: Floats
    scaled_KN: Floats
    products_SN: Floats
    won_K: Floats
    lost_K: Floats
    reach_K: list[float]
    n_won: int
    n_lost: int


class Quadratic(NamedTuple):
    """The loss around the present weights, to second order."""

    slope: list[float]
    curve: list[list[float]]


class Violations(NamedTuple):
    """By how much the optimality conditions fail: the largest and the sum over features."""

    largest: float
    total: float


def prepare(features_KN: Floats, won_N: Floats, weights_N: Floats) -> Rows:
    """Rows from features, won parts (0 to 1) and weights."""
    scaled_KN = features_KN * weights_N
    products_KKN = scaled_KN[:, None] * features_KN
    won_K = scaled_KN @ won_N
    return Rows(
        features_KN,
        weights_N,
        scaled_KN,
        products_KKN.reshape(-1, len(won_N)),
        won_K,
        scaled_KN.sum(axis=1) - won_K,
        np.abs(features_KN).max(axis=1).tolist(),
        int(np.count_nonzero(weights_N * won_N)),
        int(np.count_nonzero(weights_N * (1 - won_N))),
    )


@lru_cache(maxsize=8)
def seeds(random_state: int, count: int) -> tuple[int, ...]:
    """What scikit-learn seeds LIBLINEAR with, for its first, second ... fit."""
    generator = np.random.RandomState(random_state)
    return tuple(int(generator.randint(2**31 - 1)) for _ in range(count))


def fit(rows: Rows, C: float, seed: int) -> Floats:
    """The weights (K) at which LIBLINEAR stops minimising |w| + C * sum of log losses.

    The same as scikit-learn's to rounding, as long as no row's score reaches 700, where the
    exponentials of either overflow.

    C: strength of the data against the penalty; no feature is exempt from it.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return np.array(_Fit(rows, C, seed).weights())


class _Fit:
    """One fit: Newton steps, each solved by sweeps over the features in random order."""

    def __init__(self, rows: Rows, C: float, seed: int) -> None:
        self.rows, self.C, self.draws = rows, C, _Draws(seed)
        self.n = rows.n_won + rows.n_lost
        self.order = list(range(len(rows.features_KN)))
        self.w = [0.0] * len(self.order)
        self.trial = list(self.w)  # where the present Newton step leads
        self.lose_N = np.full(len(rows.weights_N), 0.5)  # 1 - sigmoid at the present weights
        self.idle = 0

    def weights(self) -> list[float]:
        enough = TOLERANCE * max(min(self.rows.n_won, self.rows.n_lost), 1) / self.n
        inner, largest, start = 1.0, inf, 0.0
        for step in range(_NEWTON_STEPS):
            model = self._quadratic()
            active, found = self._active(model, largest)
            start = start if step else found.total
            if found.total <= enough * start or self.idle >= _IDLE_STEPS:
                break
            self.idle += 1
            sweeps, move = self._solve(model, active, inner * start)
            self._advance(model, move)
            inner *= 0.25 if sweeps == 1 else 1.0
            largest = found.largest
        return self.w

    def _quadratic(self) -> Quadratic:
        rows, lose_N, K = self.rows, self.lose_N, len(self.w)
        slope_K = self.C * (rows.lost_K - rows.scaled_KN @ lose_N)
        curve_S = self.C * (rows.products_SN @ (lose_N * (1 - lose_N)))
        return Quadratic(slope_K.tolist(), curve_S.reshape(K, K).tolist())

    def _active(self, model: Quadratic, largest_before: float) -> tuple[int, Violations]:
        """Sets weights aside that rest safely at zero: they go to the end of the order."""
        order, active, k = self.order, len(self.order), 0
        largest = total = 0.0
        while k < active:
            j = order[k]
            violation = _violation(self.w[j], model.slope[j], largest_before / self.n)
            if violation is None:
                active -= 1
                order[k], order[active] = order[active], order[k]
                continue
            largest, total, k = max(largest, violation), total + violation, k + 1
        return active, Violations(largest, total)

    def _solve(self, model: Quadratic, active: int, enough: float) -> tuple[int, list[float]]:
        """Minimises the quadratic plus |w| into `trial`; the sweeps it took, and the move."""
        order, move = self.order, [0.0] * len(self.w)
        largest, swept = inf, active
        for sweep in range(1, _SWEEPS + 1):
            for k in range(swept):
                other = k + self.draws.below(swept - k)
                order[k], order[other] = order[other], order[k]
            swept, found = self._sweep(model, move, swept, largest / self.n)
            largest = found.largest
            if found.total <= enough:
                if swept == active:
                    return sweep, move
                largest, swept = inf, active  # once more, with those that were set aside
        return _SWEEPS, move

    def _sweep(
        self, model: Quadratic, move: list[float], swept: int, slack: float
    ) -> tuple[int, Violations]:
        """Moves each weight to its own optimum; how many are left to sweep, and what was wrong."""
        order, trial = self.order, self.trial
        largest = total = 0.0
        k = 0
        while k < swept:
            j = order[k]
            curve, here = model.curve[j], trial[j]
            slope = model.slope[j] + (here - self.w[j]) * _RIDGE
            slope += sum(map(float.__mul__, curve, move))
            violation = _violation(here, slope, slack)
            if violation is None:
                swept -= 1
                order[k], order[swept] = order[swept], order[k]
                continue
            k += 1
            step = _step(here, slope, curve[j] + _RIDGE)
            if abs(step) < _SMALLEST:
                continue
            step = min(max(step, -_LARGEST), _LARGEST)
            self.idle = 0
            largest, total = max(largest, violation), total + violation
            trial[j] += step
            move[j] += step
        return swept, Violations(largest, total)

    def _advance(self, model: Quadratic, move: list[float]) -> None:
        """Takes the step, halved until the objective falls by enough."""
        size, before = 1.0, sum(map(abs, self.w))
        promised = _dot(model.slope, move) + sum(map(abs, self.trial)) - before
        surely = self._surely_falls(model, move, promised)
        for _ in range(_HALVINGS):
            lose_N = self._losing()
            if surely or self._change(lose_N, move, size, before) <= _DECREASE * promised:
                self.w, self.lose_N = list(self.trial), lose_N
                return
            self.trial = [0.5 * (a + b) for a, b in zip(self.w, self.trial, strict=True)]
            promised, size = 0.5 * promised, 0.5 * size
        self.trial = list(self.w)

    def _losing(self) -> Floats:
        """1 - sigmoid at `trial`, row by row."""
        lose_N = np.array(self.trial) @ self.rows.features_KN
        np.exp(lose_N, out=lose_N)
        lose_N += 1
        return np.reciprocal(lose_N, out=lose_N)

    def _surely_falls(self, model: Quadratic, move: list[float], promised: float) -> bool:
        """Whether a bound on the loss already shows that the whole step is taken.

        A logistic loss grows along a step by at most its slope, and its curvature times
        (e^r - r - 1) / r^2, where no row's score moves by more than r.
        Source: Bach, Self-concordant Analysis for Logistic Regression, 2010, proposition 1.
        """
        reach = _dot(self.rows.reach_K, [abs(one) for one in move])
        if reach > 2.0:
            return False
        curved = _dot(move, [_dot(row, move) for row in model.curve])
        growth = (exp(reach) - reach - 1) / reach**2 if reach > 1e-4 else 0.5001
        return (1 - _DECREASE) * promised + growth * curved < -1e-9 * abs(promised)

    def _change(self, lose_N: Floats, move: list[float], size: float, before: float) -> float:
        """By how much the objective grows from the present weights to `trial`."""
        log_loss = float(self.rows.weights_N @ np.log(self.lose_N / lose_N))
        log_loss -= size * _dot(self.rows.won_K.tolist(), move)
        return self.C * log_loss + sum(map(abs, self.trial)) - before


class _Draws:
    """Random whole numbers: Mersenne Twister words, mapped without bias.

    Source: Lemire, Fast Random Integer Generation in an Interval, 2019.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.used = seed, 0
        self.words = _words(seed, 256)

    def below(self, bound: int) -> int:
        """The next one of 0 to bound - 1."""
        scaled = self._word() * bound
        if scaled & _LOW < bound:
            while scaled & _LOW < _WORD % bound:
                scaled = self._word() * bound
        return scaled >> 32

    def _word(self) -> int:
        if self.used == len(self.words):
            self.words = _words(self.seed, 2 * len(self.words))
        self.used += 1
        return self.words[self.used - 1]


@lru_cache(maxsize=64)
def _words(seed: int, count: int) -> list[int]:
    words = np.random.RandomState(seed).randint(0, _WORD, size=count, dtype=np.uint32)
    return [int(word) for word in words]


def _violation(weight: float, slope: float, slack: float) -> float | None:
    """By how much a weight fails its optimality condition; None where it rests safely at zero.

    slope: of the loss. slack: how far inside -1 to 1 it must be to be called safe.
    """
    if weight > 0:
        return abs(slope + 1)
    if weight < 0:
        return abs(slope - 1)
    if abs(slope) > 1:
        return abs(slope) - 1
    return None if 1 - abs(slope) > slack else 0.0


def _step(weight: float, slope: float, curve: float) -> float:
    """The move z that minimises slope * z + curve * z^2 / 2 + |weight + z|."""
    if slope + 1 < curve * weight:
        return -(slope + 1) / curve
    if slope - 1 > curve * weight:
        return -(slope - 1) / curve
    return -weight


def _dot(one: list[float], other: list[float]) -> float:
    return sum(map(float.__mul__, one, other))
