"""A win rate with the judge's liking for longer answers taken out, for any instruction set.

The published length-controlled win rate needs the difficulties of AlpacaEval's own
805 instructions; this is upstream's form without them, and goes by upstream's name
for it, `length_controlled_minimal`. Legend: D fits at once, N instructions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import ScoreError
from evalkit.metrics.win_rate import is_missing, preferred
from evalkit.stats import Interval

# Upstream's grid from its sixth value on. The five strongest penalties set every rate to exactly
# 50 with no spread; where a set is small and the models are close, cross-validation picks them.
GRID_C = np.logspace(-4, 4, 10)[5:]
FOLDS = 5
DRAWS = 1000

Floats = NDArray[np.float64]


class LengthControlled(NamedTuple):
    """100 * sigmoid(bias) with its bootstrap interval, and the fit behind it."""

    win_rate: Interval
    length_weight: float
    bias: float
    C: float


class Fit(NamedTuple):
    """Weights of tanh(length difference / sd) and of the constant, one per fit."""

    length_D: Floats
    bias_D: Floats


def length_controlled_minimal(
    preferences: Sequence[float | None],
    lengths: Sequence[int],
    baseline_lengths: Sequence[int],
    seed: int,
    *,
    draws: int = DRAWS,
) -> LengthControlled:
    """The win rate at equal lengths: p = sigmoid(a * tanh(dl / sd(dl)) + c) fitted, then dl = 0.

    dl is the baseline's length minus the model's, in characters; sd over all rows,
    unjudged ones included, as upstream has it. L1-penalised with the strength
    chosen by five-fold cross-validation; the bootstrap over instructions repeats sd
    and fit at that strength, so it leaves out the choice of C, the judge's and the
    generation's noise.

    Source: tatsu-lab/alpaca_eval, metrics/glm_winrate.py (release 0.6.6), solved
    exactly where upstream's solver stops early, and without its strongest penalties.

    Raises:
        ScoreError: fewer judged items than two for each fold.
    """
    judged_N = np.array([not is_missing(value) for value in preferences])
    if judged_N.sum() < 2 * FOLDS:
        raise ScoreError(f"a length-controlled win rate needs {2 * FOLDS} judged items")
    won_N = np.full(len(judged_N), 0.5)
    won_N[judged_N] = preferred(preferences)
    delta_N = np.asarray(baseline_lengths, float) - np.asarray(lengths, float)
    rows_1N = np.ones((1, len(won_N)))
    gap_1N = _gap(delta_N, rows_1N)
    strength = _choose_strength(gap_1N[0][judged_N], won_N[judged_N])
    fit = fit_l1(gap_1N, won_N, rows_1N * judged_N, strength)
    generator = np.random.default_rng(seed)
    n = len(won_N)
    rows_DN = generator.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
    redrawn = fit_l1(_gap(delta_N, rows_DN), won_N, rows_DN * judged_N, strength)
    rates_D = 100 * sigmoid(redrawn.bias_D)
    low, high = np.quantile(rates_D, [0.025, 0.975])
    value = float(100 * sigmoid(fit.bias_D)[0])
    interval = Interval(
        value, float(rates_D.std(ddof=1)), float(low), float(high), int(judged_N.sum())
    )
    return LengthControlled(interval, float(fit.length_D[0]), float(fit.bias_D[0]), strength)


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)) without overflow."""
    return np.exp(-np.logaddexp(0, -values))


def fit_l1(gap_DN: Floats, won_N: Floats, rows_DN: Floats, strength: Floats | float) -> Fit:
    """Minimises |a| + |c| + C * sum of weighted log losses, D problems at once.

    Proximal Newton with step halving; two coordinates, so the inner problem is
    solved by a few sweeps. Ends when no weight moves by more than 1e-10.
    """
    shape_DN = np.broadcast_shapes(gap_DN.shape, rows_DN.shape)
    gap_DN, rows_DN = np.broadcast_to(gap_DN, shape_DN), np.broadcast_to(rows_DN, shape_DN)
    scaled_DN = rows_DN * np.broadcast_to(strength, shape_DN[0])[:, None]
    weights_2D = np.zeros((2, shape_DN[0]))
    loss_D = _loss(weights_2D, gap_DN, won_N, scaled_DN)
    for _ in range(100):
        step_2D = _newton_step(weights_2D, gap_DN, won_N, scaled_DN)
        size_D = np.ones(shape_DN[0])
        for _ in range(30):
            moved_2D = weights_2D + size_D * step_2D
            moved_loss_D = _loss(moved_2D, gap_DN, won_N, scaled_DN)
            worse_D = moved_loss_D > loss_D + 1e-12 * np.abs(loss_D)
            if not worse_D.any():
                break
            size_D = np.where(worse_D, size_D / 2, size_D)
        weights_2D, loss_D = moved_2D, moved_loss_D
        if np.abs(size_D * step_2D).max() < 1e-10:
            break
    return Fit(weights_2D[0], weights_2D[1])


def _choose_strength(gap_N: Floats, won_N: Floats) -> float:
    """The C of the grid with the least held-out log loss, the smallest of equals."""
    n = len(won_N)
    fold_N = (n - 1 - np.arange(n)) % FOLDS  # scikit-learn's GroupKFold with one row per group
    train_FN = np.array([fold_N != fold for fold in range(FOLDS)], float)
    rows_DN = np.repeat(train_FN, len(GRID_C), axis=0)
    strengths_D = np.tile(GRID_C, FOLDS)
    fit = fit_l1(gap_N[None, :], won_N, rows_DN, strengths_D)
    z_DN = fit.length_D[:, None] * gap_N + fit.bias_D[:, None]
    loss_DN = (np.logaddexp(0, z_DN) - won_N * z_DN) * (1 - rows_DN)
    held_out_D = loss_DN.sum(axis=1) / (1 - rows_DN).sum(axis=1)
    return float(GRID_C[held_out_D.reshape(FOLDS, -1).mean(axis=0).argmin()])


def _gap(delta_N: Floats, rows_DN: Floats) -> Floats:
    """tanh of the length difference over its standard deviation among the drawn rows (ddof 1)."""
    total_D1 = rows_DN.sum(axis=1, keepdims=True)
    mean_D1 = (rows_DN @ delta_N)[:, None] / total_D1
    square_D1 = (rows_DN * (delta_N - mean_D1) ** 2).sum(axis=1, keepdims=True)
    sd_D1 = np.sqrt(square_D1 / (total_D1 - 1))
    ratio_DN = np.divide(delta_N, sd_D1, out=np.zeros(rows_DN.shape), where=sd_D1 > 0)
    return np.asarray(np.tanh(ratio_DN))


def _loss(weights_2D: Floats, gap_DN: Floats, won_N: Floats, scaled_DN: Floats) -> Floats:
    z_DN = weights_2D[0][:, None] * gap_DN + weights_2D[1][:, None]
    losses_DN = np.logaddexp(0, z_DN) - won_N * z_DN
    return np.asarray((scaled_DN * losses_DN).sum(axis=1) + np.abs(weights_2D).sum(axis=0))


def _newton_step(weights_2D: Floats, gap_DN: Floats, won_N: Floats, scaled_DN: Floats) -> Floats:
    p_DN = sigmoid(weights_2D[0][:, None] * gap_DN + weights_2D[1][:, None])
    error_DN, curve_DN = scaled_DN * (p_DN - won_N), scaled_DN * p_DN * (1 - p_DN)
    slope_2D = np.stack([(error_DN * gap_DN).sum(axis=1), error_DN.sum(axis=1)])
    diagonal_2D = np.stack([(curve_DN * gap_DN**2).sum(axis=1), curve_DN.sum(axis=1)]) + 1e-12
    cross_D = (curve_DN * gap_DN).sum(axis=1)
    step_2D = np.zeros_like(weights_2D)
    for _ in range(60):
        before_2D = step_2D.copy()
        for k in (0, 1):
            pull_D = slope_2D[k] + cross_D * step_2D[1 - k]
            step_2D[k] = _soft_step(pull_D, diagonal_2D[k], weights_2D[k])
        if np.abs(step_2D - before_2D).max() < 1e-14:
            break
    return step_2D


def _soft_step(slope_D: Floats, curve_D: Floats, weight_D: Floats) -> Floats:
    """The step d that minimises slope * d + curve * d^2 / 2 + |weight + d|."""
    target_D = weight_D - slope_D / curve_D
    kept_D = np.sign(target_D) * np.maximum(np.abs(target_D) - 1 / curve_D, 0)
    return np.asarray(kept_D - weight_D)
