"""What the gamed baselines add to slope and curvature of the loss, from a table.

Their rows have no bias: all they add depends on the length and difficulty weights alone, so that
polynomials in two variables stand for 1,610 rows. Legend: D points, N rows, G nodes a side.

Source: Trefethen, Approximation Theory and Approximation Practice, chapters 2 to 4, for
interpolation in Chebyshev points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.alpaca_eval_data import Gamed
from evalkit.metrics.l1_newton import sigmoid
from evalkit.metrics.length_controlled_glm import GAMED_WEIGHT

_NODES = 20

Floats = NDArray[np.float64]


class GamedTable:
    """Slopes and curvatures around `centre` (length weight, difficulty weight), within `reach`."""

    def __init__(self, gamed: Gamed, centre: Floats, reach: Floats) -> None:
        self.centre, self.reach = centre, reach
        angle_G = np.pi * (np.arange(_NODES) + 0.5) / _NODES
        length_G, difficulty_G = (centre[k] + reach[k] * np.cos(angle_G) for k in (0, 1))
        values_GGQ = _sums(gamed, length_G, difficulty_G)
        transform_GG = 2 / _NODES * np.cos(np.outer(np.arange(_NODES), angle_G))
        transform_GG[0] /= 2
        coefficients = np.einsum("ig,jh,ghq->ijq", transform_GG, transform_GG, values_GGQ)
        self.coefficients = coefficients.reshape(_NODES, -1)

    def holds(self, weights_D2: Floats) -> NDArray[np.bool_]:
        """Which points lie inside."""
        return np.asarray((np.abs(weights_D2 - self.centre) <= self.reach).all(axis=1))

    def add(self, weights_D2: Floats, slope_DK: Floats, curve_DKK: Floats) -> None:
        """Adds the baselines' part to the upper triangle; points outside count as on the edge."""
        at_D2 = np.clip((weights_D2 - self.centre) / self.reach, -1, 1)
        length_DG, difficulty_DG = np.cos(np.arange(_NODES) * np.arccos(at_D2)[..., None]).swapaxes(
            0, 1
        )
        rows = (length_DG @ self.coefficients).reshape(len(at_D2), _NODES, -1)
        sums_DQ = np.einsum("dg,dgq->dq", difficulty_DG, rows)
        slope_DK[:, :2] += sums_DQ[:, :2]
        curve_DKK[:, [0, 0, 1], [0, 1, 1]] += sums_DQ[:, 2:]


def _sums(gamed: Gamed, length_G: Floats, difficulty_G: Floats) -> Floats:
    """Two slopes and three curvatures at each pair of nodes (G, G, 5)."""
    t_N, d_N = gamed.gap_N, gamed.difficulty_N
    products_NQ = np.stack([t_N * t_N, t_N * d_N, d_N * d_N], axis=1)
    linear_NQ = np.stack([t_N, d_N], axis=1)
    sums = []
    for length in length_G:
        p_GN = sigmoid(length * t_N + difficulty_G[:, None] * d_N)
        parts = ((p_GN - gamed.won_N) @ linear_NQ, (p_GN * (1 - p_GN)) @ products_NQ)
        sums.append(np.hstack(parts))
    return GAMED_WEIGHT * np.stack(sums)
