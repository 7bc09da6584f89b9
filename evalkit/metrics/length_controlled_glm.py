"""AlpacaEval's published length-controlled win rate: its model, and how it is fitted.

For model m and instruction i, p = sigmoid(a * tanh(dl / sd(dl)) + b * difficulty_i + c), where dl
is the baseline's length minus the model's; the win rate is the mean of p with dl = 0.

Source: Dubois et al., Length-Controlled AlpacaEval, 2024, section 3; tatsu-lab/alpaca_eval,
metrics/glm_winrate.py (release 0.6.6), `length_controlled_v1`; for folds and the choice of C,
scikit-learn 1.9. Legend: N rows, K weights (length, difficulty, bias).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import ScoreError
from evalkit.metrics import liblinear
from evalkit.metrics.alpaca_eval_data import Gamed
from evalkit.metrics.l1_newton import sigmoid

GRID_C = np.logspace(-4, 4, 10)
FOLDS = 5
RANDOM_STATE = 123
GAMED_WEIGHT = 0.1  # of each row of the two gamed baselines: a regularisation of 0.2, halved
_CLIPPED = 1e-15  # probabilities, in held-out log losses

Floats = NDArray[np.float64]


class Outcomes(NamedTuple):
    """A model's outputs against the baseline's, row by row of the annotations.

    won_N: how surely the model wins, 0 to 1; NaN where the judge said nothing.
    delta_N: the baseline's length minus the model's, in characters.
    """

    won_N: Floats
    delta_N: Floats
    difficulty_N: Floats


class Weights(NamedTuple):
    """The fitted model."""

    length: float
    difficulty: float
    bias: float


class Fit(NamedTuple):
    """The weights, and the strength C they were fitted with."""

    weights: Weights
    C: float


def fit(outcomes: Outcomes, gamed: Gamed, C: float | None = None) -> Fit:
    """The published fit; C is chosen by cross-validation where it is not given.

    Rows without a judgement count in sd(dl), and are left out of the fit.

    Raises:
        ScoreError: too few rows are judged.
    """
    if np.count_nonzero(~np.isnan(outcomes.won_N)) < FOLDS:
        raise ScoreError(f"a length-controlled win rate needs {FOLDS} judged items")
    features_KN, won_N, weights_N = training_rows(outcomes, gamed)
    strength = _chosen(features_KN, won_N, weights_N) if C is None else C
    seed = liblinear.seeds(RANDOM_STATE, len(GRID_C))[0]
    found_K = liblinear.fit(liblinear.prepare(features_KN, won_N, weights_N), strength, seed)
    return Fit(Weights(*found_K.tolist()), float(strength))


def probabilities(difficulty_N: Floats, weights: Weights) -> Floats:
    """How surely the model wins each instruction at equal lengths."""
    return sigmoid(weights.difficulty * difficulty_N + weights.bias)


def standard_error(probabilities_N: Floats) -> float:
    """The published `lc_standard_error`, from 0 to 1: their spread over instructions.

    It holds neither the sampling of the instructions nor the error of the fit.
    """
    return float(probabilities_N.std(ddof=1) / np.sqrt(len(probabilities_N)))


def gaps(delta_N: Floats) -> Floats:
    """tanh of the length difference over its standard deviation (ddof 1); 0 where all are equal."""
    spread = delta_N.std(ddof=1)
    return np.asarray(np.tanh(delta_N / spread)) if spread > 0 else np.zeros_like(delta_N)


def folds(n: int) -> NDArray[np.intp]:
    """The fold of each of n rows: scikit-learn's GroupKFold with every row its own group."""
    return (n - 1 - np.arange(n)) % FOLDS


def training_rows(outcomes: Outcomes, gamed: Gamed) -> tuple[Floats, Floats, Floats]:
    """Features (K, N), won parts and weights: first the gamed baselines' rows, then the model's."""
    judged_N = ~np.isnan(outcomes.won_N)
    first = len(gamed.won_N)
    features_KN = np.zeros((3, first + np.count_nonzero(judged_N)))
    features_KN[0, :first], features_KN[1, :first] = gamed.gap_N, gamed.difficulty_N
    features_KN[0, first:] = gaps(outcomes.delta_N)[judged_N]
    features_KN[1, first:] = outcomes.difficulty_N[judged_N]
    features_KN[2, first:] = 1
    weights_N = np.ones(features_KN.shape[1])
    weights_N[:first] = GAMED_WEIGHT
    return features_KN, np.concatenate([gamed.won_N, outcomes.won_N[judged_N]]), weights_N


def _chosen(features_KN: Floats, won_N: Floats, weights_N: Floats) -> float:
    """The C of the grid with the least held-out loss, the smallest of equals."""
    fold_N = folds(len(won_N))
    losses_C = np.zeros(len(GRID_C))
    seeds = liblinear.seeds(RANDOM_STATE, len(GRID_C))
    for fold in range(FOLDS):
        kept_N = fold_N != fold
        rows = liblinear.prepare(features_KN[:, kept_N], won_N[kept_N], weights_N[kept_N])
        found_CK = np.stack(
            [liblinear.fit(rows, C, seed) for C, seed in zip(GRID_C, seeds, strict=True)]
        )
        held_out_CN = sigmoid(found_CK @ features_KN[:, ~kept_N])
        losses_C += _log_losses(held_out_CN, won_N[~kept_N], weights_N[~kept_N])
    return float(GRID_C[losses_C.argmin()])


def _log_losses(p_CN: Floats, won_N: Floats, weights_N: Floats) -> Floats:
    p_CN = np.clip(p_CN, _CLIPPED, 1 - _CLIPPED)
    losses_CN = -(won_N * np.log(p_CN) + (1 - won_N) * np.log(1 - p_CN))
    return np.asarray((losses_CN * weights_N).mean(axis=1))
