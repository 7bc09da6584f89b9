"""Many small L1-regularised logistic regressions at once, each solved to its optimum.

Legend: D problems, N rows, K weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STEPS = 100
_HALVINGS = 30
_SWEEPS = 60
_SETTLED = 1e-10  # no weight moves by more in the last step
_RIDGE = 1e-12  # of the curvature, added to its diagonal: then no system is singular

Floats = NDArray[np.float64]


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)) without overflow."""
    return np.exp(-np.logaddexp(0, -values))


def fit_l1(
    features: Sequence[Floats], won_N: Floats, weights_DN: Floats, strength_D: Floats
) -> Floats:
    """The weights (D, K) that minimise |w| + C * sum of weighted log losses.

    features: K arrays that broadcast to (D, N). won_N: from 0 to 1.
    """
    shape_DN = weights_DN.shape
    spread = [np.broadcast_to(one, shape_DN) for one in features]
    scaled_DN = weights_DN * strength_D[:, None]
    found_DK = np.zeros((shape_DN[0], len(spread)))
    loss_D = _objective(found_DK, spread, won_N, scaled_DN)
    for _ in range(_STEPS):
        step_DK = _newton_step(found_DK, spread, won_N, scaled_DN)
        size_D1 = np.ones((shape_DN[0], 1))
        for _ in range(_HALVINGS):
            moved_DK = found_DK + size_D1 * step_DK
            moved_loss_D = _objective(moved_DK, spread, won_N, scaled_DN)
            worse_D = moved_loss_D > loss_D + 1e-12 * np.abs(loss_D)
            if not worse_D.any():
                break
            size_D1 = np.where(worse_D[:, None], size_D1 / 2, size_D1)
        found_DK, loss_D = moved_DK, moved_loss_D
        if np.abs(size_D1 * step_DK).max() < _SETTLED:
            break
    return found_DK


def l1_step(weights_DK: Floats, slope_DK: Floats, curve_DKK: Floats) -> Floats:
    """The move d that minimises slope * d + d * curve * d / 2 + |w + d|, for each problem.

    Where no weight changes its sign, that is one linear system; else sweeps over the weights.
    """
    # Equal lengths are a feature of zeros, and features may be multiples of one another.
    largest_D = np.maximum(1, np.trace(curve_DKK, axis1=1, axis2=2))
    curve_DKK = curve_DKK + _RIDGE * largest_D[:, None, None] * np.eye(curve_DKK.shape[1])
    sign_DK = np.sign(weights_DK)
    step_DK = np.linalg.solve(curve_DKK, -(slope_DK + sign_DK)[..., None])[..., 0]
    turned_D = ((weights_DK + step_DK) * sign_DK <= 0).any(axis=1)
    if turned_D.any():
        step_DK[turned_D] = _swept(weights_DK[turned_D], slope_DK[turned_D], curve_DKK[turned_D])
    return np.asarray(step_DK)


def _swept(weights_DK: Floats, slope_DK: Floats, curve_DKK: Floats) -> Floats:
    step_DK = np.zeros_like(weights_DK)
    for _ in range(_SWEEPS):
        before_DK = step_DK.copy()
        for k in range(weights_DK.shape[1]):
            curve_D = curve_DKK[:, k, k]
            others_D = np.einsum("dk,dk->d", curve_DKK[:, k], step_DK) - curve_D * step_DK[:, k]
            target_D = weights_DK[:, k] - (slope_DK[:, k] + others_D) / curve_D
            kept_D = np.sign(target_D) * np.maximum(np.abs(target_D) - 1 / curve_D, 0)
            step_DK[:, k] = kept_D - weights_DK[:, k]
        if np.abs(step_DK - before_DK).max() < 1e-14:
            break
    return step_DK


def _newton_step(
    weights_DK: Floats, spread: Sequence[Floats], won_N: Floats, scaled_DN: Floats
) -> Floats:
    p_DN = sigmoid(_scores(weights_DK, spread))
    error_DN, curve_DN = scaled_DN * (p_DN - won_N), scaled_DN * p_DN * (1 - p_DN)
    slope_DK = np.stack([(error_DN * one).sum(axis=1) for one in spread], axis=1)
    rows = [[(curve_DN * one * other).sum(axis=1) for other in spread] for one in spread]
    curve_DKK = np.moveaxis(np.array(rows), 2, 0)
    return l1_step(weights_DK, slope_DK, curve_DKK)


def _objective(
    weights_DK: Floats, spread: Sequence[Floats], won_N: Floats, scaled_DN: Floats
) -> Floats:
    z_DN = _scores(weights_DK, spread)
    losses_DN = np.logaddexp(0, z_DN) - won_N * z_DN
    return np.asarray((scaled_DN * losses_DN).sum(axis=1) + np.abs(weights_DK).sum(axis=1))


def _scores(weights_DK: Floats, spread: Sequence[Floats]) -> Floats:
    scores_DN = weights_DK[:, :1] * spread[0]
    for k, one in enumerate(spread[1:], start=1):
        scores_DN = scores_DN + weights_DK[:, k : k + 1] * one
    return scores_DN
