"""How far the length-controlled win rate would move with other instructions: a paired bootstrap.

Each draw takes instructions with replacement, the same for every model, and repeats sd(dl), fit
and mean. C, the gamed baselines and the judgements stay as they are, so that the choice of C and
the noise of judge and generation are not in it. Draws are fitted to the optimum, which lies up to
0.01 points from where the published solver stops.

Legend: D draws, M models, U instructions of any model, N rows of one, K weights.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics.alpaca_eval_data import Gamed
from evalkit.metrics.gamed_table import GamedTable
from evalkit.metrics.l1_newton import fit_l1, l1_step, sigmoid
from evalkit.metrics.length_controlled_glm import GAMED_WEIGHT, Outcomes, gaps

DRAWS = 10_000
_CHUNK = 64  # draws whose rows fit in a core's cache
_STEPS = 8
_REACH = 7  # standard deviations of the weights, over which the table goes
_SETTLED = 1e-4  # Newton steps square their error: what is left is below the table's 1e-7

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Entrant(NamedTuple):
    """A model in the bootstrap.

    instruction_N: which instruction each row answers, as a position among all U.
    """

    outcomes: Outcomes
    C: float
    instruction_N: NDArray[np.intp]


def redrawn_win_rates(
    entrants: Sequence[Entrant], gamed: Gamed, seed: int, *, draws: int = DRAWS
) -> Floats:
    """Each model's length-controlled win rate (M, D) in percent, in each draw of instructions."""
    total = 1 + max(int(one.instruction_N.max()) for one in entrants)
    refits = [_Refit(one, gamed) for one in entrants]

    def chunk(number: int) -> Floats:
        size = min(_CHUNK, draws - number * _CHUNK)
        counts_DU = _drawn(np.random.default_rng([seed, number]), size, total)
        return np.stack([refit.win_rates(counts_DU) for refit in refits])

    numbers = range(-(-draws // _CHUNK))
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # numpy works outside the interpreter lock
        return 100 * np.concatenate(list(threads.map(chunk, numbers)), axis=1)


def _drawn(generator: np.random.Generator, draws: int, total: int) -> Floats:
    """How often each instruction is drawn (D, U), each draw taking as many as there are."""
    picked_DU = generator.integers(0, total, size=(draws, total), dtype=np.int32)
    picked_DU += total * np.arange(draws, dtype=np.int32)[:, None]
    counts = np.bincount(picked_DU.ravel(), minlength=draws * total)
    return counts.reshape(draws, total).astype(np.float64)


class _Refit:
    """One model, fitted anew to any counts of its rows."""

    def __init__(self, entrant: Entrant, gamed: Gamed) -> None:
        outcomes = entrant.outcomes
        self.C, self.gamed, self.instruction_N = entrant.C, gamed, entrant.instruction_N
        self.judged_N = ~np.isnan(outcomes.won_N)
        self.won_N = np.where(self.judged_N, outcomes.won_N, 0.5)
        self.delta_N = outcomes.delta_N
        centred_N = self.delta_N - self.delta_N.mean()
        self.moments_KN = np.stack([np.ones_like(centred_N), centred_N, centred_N**2])
        self.powers_KN = np.stack([outcomes.difficulty_N**k for k in (0, 1, 2)])
        gap_1N, once_1N = gaps(self.delta_N)[None], np.ones((1, len(self.won_N)))
        self.whole_K = self._exactly(gap_1N, once_1N)[0]
        self.influence_NK = self._influence(gap_1N[0])
        spread_K = np.sqrt((self.influence_NK**2).sum(axis=0))
        self.table = GamedTable(gamed, self.whole_K[:2], _REACH * spread_K[:2] + 1e-3)

    def win_rates(self, counts_DU: Floats) -> Floats:
        """The win rate (0 to 1) at equal lengths in each draw."""
        counts_DN = counts_DU[:, self.instruction_N]
        gap_DN = self._gaps(counts_DN)
        weights_DK, settled_D = self._quickly(gap_DN, counts_DN * self.judged_N)
        if not settled_D.all():
            left_D = ~settled_D
            weights_DK[left_D] = self._exactly(gap_DN[left_D], counts_DN[left_D])
        p_DN = _sigmoid(weights_DK[:, 2:0:-1] @ self.powers_KN[:2])
        return np.asarray(np.einsum("dn,dn->d", counts_DN, p_DN) / counts_DN.sum(axis=1))

    def _gaps(self, counts_DN: Floats) -> Floats:
        """tanh(dl / sd) with each draw's own sd."""
        n_D, sum_D, square_D = self.moments_KN @ counts_DN.T
        variance_D = (square_D - sum_D**2 / n_D) / (n_D - 1)
        scale_D = np.zeros_like(variance_D)
        np.divide(1, np.sqrt(variance_D), out=scale_D, where=variance_D > 1e-12)
        gap_DN = scale_D[:, None] * self.delta_N
        return np.asarray(np.tanh(gap_DN, out=gap_DN))

    def _quickly(self, gap_DN: Floats, counts_DN: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Weights by a few Newton steps; which draws have settled, and inside the table."""
        won_DN = counts_DN * self.won_N
        won_DK = np.column_stack(
            [np.einsum("dn,dn->d", won_DN, gap_DN), won_DN @ self.powers_KN[[1, 0]].T]
        )
        weights_DK = self.whole_K + (counts_DN - 1) @ self.influence_NK
        for _ in range(_STEPS):
            slope_DK, curve_DKK = self._quadratic(weights_DK, gap_DN, counts_DN, won_DK)
            move_DK = l1_step(weights_DK, slope_DK, curve_DKK)
            weights_DK += move_DK
            moved_D = np.abs(move_DK).max(axis=1)
            if moved_D.max() < _SETTLED:
                break
        return weights_DK, (moved_D < _SETTLED) & self.table.holds(weights_DK[:, :2])

    def _quadratic(
        self, weights_DK: Floats, gap_DN: Floats, counts_DN: Floats, won_DK: Floats
    ) -> tuple[Floats, Floats]:
        """Slope (D, K) and curvature (D, K, K) of the loss, the gamed baselines' from the table."""
        z_DN = weights_DK[:, 2:0:-1] @ self.powers_KN[:2]
        z_DN += weights_DK[:, :1] * gap_DN
        p_DN = _sigmoid(z_DN)
        p_counted_DN = counts_DN * p_DN
        p_DN *= p_counted_DN
        flat_DN = np.subtract(p_counted_DN, p_DN, out=p_DN)
        tilted_DN = flat_DN * gap_DN
        slope_DK = -won_DK
        slope_DK[:, 1:] += p_counted_DN @ self.powers_KN[1::-1].T
        slope_DK[:, 0] += np.einsum("dn,dn->d", p_counted_DN, gap_DN)
        curve_DKK = np.empty((len(weights_DK), 3, 3))
        curve_DKK[:, 2, 2], curve_DKK[:, 1, 2], curve_DKK[:, 1, 1] = self.powers_KN @ flat_DN.T
        curve_DKK[:, 0, 2], curve_DKK[:, 0, 1] = self.powers_KN[:2] @ tilted_DN.T
        curve_DKK[:, 0, 0] = np.einsum("dn,dn->d", tilted_DN, gap_DN)
        self.table.add(weights_DK[:, :2], slope_DK, curve_DKK)
        curve_DKK[:, [1, 2, 2], [0, 0, 1]] = curve_DKK[:, [0, 0, 1], [1, 2, 2]]
        return self.C * slope_DK, self.C * curve_DKK

    def _exactly(self, gap_DN: Floats, counts_DN: Floats) -> Floats:
        """Weights (D, K) from all rows, with every step checked."""
        gamed, size = self.gamed, len(gap_DN)
        features = [
            np.hstack([np.broadcast_to(gamed.gap_N, (size, len(gamed.gap_N))), gap_DN]),
            np.concatenate([gamed.difficulty_N, self.powers_KN[1]]),
            np.concatenate([np.zeros_like(gamed.won_N), self.powers_KN[0]]),
        ]
        won = np.concatenate([gamed.won_N, self.won_N])
        theirs = np.full((size, len(gamed.won_N)), GAMED_WEIGHT)
        weights = np.hstack([theirs, counts_DN * self.judged_N])
        return fit_l1(features, won, weights, np.full(size, self.C))

    def _influence(self, gap_N: Floats) -> Floats:
        """By how much one more of each row moves the weights (N, K), to first order.

        Source: the infinitesimal jackknife; Efron, The Jackknife, the Bootstrap and Other
        Resampling Plans, 1982, chapter 6.
        """
        gamed = self.gamed
        own_KN = np.stack([gap_N, self.powers_KN[1], self.powers_KN[0]])
        theirs_KN = np.stack([gamed.gap_N, gamed.difficulty_N, np.zeros_like(gamed.won_N)])
        p_N, p_theirs_N = sigmoid(self.whole_K @ own_KN), sigmoid(self.whole_K @ theirs_KN)
        curve_KK = (own_KN * p_N * (1 - p_N) * self.judged_N) @ own_KN.T + 1e-6 * np.eye(3)
        curve_KK += GAMED_WEIGHT * (theirs_KN * p_theirs_N * (1 - p_theirs_N)) @ theirs_KN.T
        free_K = self.whole_K != 0  # what the penalty holds at zero is left there at first
        slopes_KN = own_KN * (self.won_N - p_N) * self.judged_N
        return np.asarray(np.linalg.solve(curve_KK, slopes_KN).T * free_K)


def _sigmoid(values: Floats) -> Floats:
    """In place, for values that are no more than some hundreds."""
    np.negative(values, out=values)
    np.exp(values, out=values)
    values += 1
    return np.asarray(np.reciprocal(values, out=values))
