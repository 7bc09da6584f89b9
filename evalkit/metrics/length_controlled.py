"""A win rate with the judge's liking for longer answers taken out.

`length_controlled_winrate` is AlpacaEval's published one, for its own 805 instructions, whose
difficulties it needs; `length_controlled_minimal` is upstream's form without them, for any
instruction set, and goes by upstream's name for it. Legend: D fits at once, N instructions.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import ScoreError
from evalkit.metrics import length_controlled_glm as glm
from evalkit.metrics.alpaca_eval_data import Auxiliary
from evalkit.metrics.l1_newton import fit_l1, sigmoid
from evalkit.metrics.length_controlled_bootstrap import DRAWS as DRAWS
from evalkit.metrics.length_controlled_bootstrap import Entrant, redrawn_win_rates
from evalkit.metrics.win_rate import DRAW, is_missing, preferred
from evalkit.stats import Interval

# Upstream's grid from its sixth value on. The five strongest penalties set every rate to exactly
# 50 with no spread; where a set is small and the models are close, cross-validation picks them.
MINIMAL_GRID_C = glm.GRID_C[5:]
MINIMAL_DRAWS = 1000
SEED = 0  # of the bootstrap, where no run gives one
BOOTSTRAP = (
    "bootstrap over instructions with the fit repeated; without the choice of C, the noise of the "
    "judge and that of generation"
)

Floats = NDArray[np.float64]


class Judged(NamedTuple):
    """A model's judged outputs, row by row of the annotations.

    preferences: from 1 (the baseline surely wins) to 2 (the model surely wins); 0 and 1.5 are
        draws; None or NaN is a failed judgement.
    lengths, baseline_lengths: of the outputs, in characters.
    instructions: what tells instructions apart where models are paired; default the row's number.
    """

    preferences: Sequence[float | None]
    lengths: Sequence[int]
    baseline_lengths: Sequence[int]
    instructions: Sequence[Hashable] | None = None


class LengthControlled(NamedTuple):
    """The win rate in percent with its bootstrap interval, and the fit behind it.

    published_stderr: by upstream's definition, the spread of the fitted win probabilities over
        instructions divided by sqrt(n): not the error of the win rate, which the interval holds.
    C: None for the baseline itself, whose win rate is 50 by definition.
    """

    metric: Literal["length_controlled_winrate", "length_controlled_minimal"]
    win_rate: Interval
    length_weight: float
    bias: float
    C: float | None
    difficulty_weight: float | None = None
    published_stderr: float | None = None
    auxiliary: Mapping[str, str] | None = None

    def description(self) -> dict[str, Any]:
        """For provenance: the fit by the metric's name, and what its interval holds."""
        facts = {
            "C": self.C,
            "length_weight": self.length_weight,
            "difficulty_weight": self.difficulty_weight,
            "bias": self.bias,
            "published_standard_error": self.published_stderr,
            "auxiliary_data_sha256": dict(self.auxiliary) if self.auxiliary else None,
            "interval": BOOTSTRAP,
        }
        return {self.metric: {key: value for key, value in facts.items() if value is not None}}


def length_controlled_winrate(
    judged: Judged,
    auxiliary: Auxiliary,
    seed: int,
    *,
    C: float | None = None,
    is_baseline: bool = False,
    draws: int = DRAWS,
) -> LengthControlled:
    """AlpacaEval's published length-controlled win rate, to about 1e-9 what alpaca_eval computes.

    C: the strength of the data against the penalty; chosen by cross-validation where not given.
    is_baseline: whether the model is the baseline; also seen by equal lengths and draws alone.

    Source: see `length_controlled_glm`.

    Raises:
        ScoreError: too few judged rows, or more rows than there are difficulties.
    """
    outcomes, n = _outcomes(judged, auxiliary), len(preferred(judged.preferences))
    if is_baseline or _is_itself(outcomes):
        return _of_the_baseline(auxiliary, n)
    found = glm.fit(outcomes, auxiliary.gamed, C)
    wins_N = glm.probabilities(outcomes.difficulty_N, found.weights)
    entrant = Entrant(outcomes, found.C, np.arange(len(wins_N)))
    redrawn_D = redrawn_win_rates([entrant], auxiliary.gamed, seed, draws=draws)[0]
    return LengthControlled(
        "length_controlled_winrate",
        _interval(100 * float(wins_N.mean()), redrawn_D, n),
        found.weights.length,
        found.weights.bias,
        found.C,
        found.weights.difficulty,
        100 * glm.standard_error(wins_N),
        auxiliary.origin,
    )


def length_controlled_difference(
    a: Judged,
    b: Judged,
    auxiliary: Auxiliary,
    seed: int,
    *,
    C: float | None = None,
    draws: int = DRAWS,
) -> Interval:
    """How far `b`'s published length-controlled win rate lies above `a`'s, in points.

    Both are refitted to the same draws of instructions, so that what makes an instruction hard or
    easy for both cancels out.

    Raises:
        ScoreError: see `length_controlled_winrate`; or the two share no instruction.
    """
    shared = len(set(_names(a)) & set(_names(b)))
    if not shared:
        raise ScoreError(
            "the two models were judged on no common instruction",
            "instructions are told apart by their text, or by instruction_id: give both alike",
        )
    (value_a, value_b), (rates_a, rates_b) = redrawn([a, b], auxiliary, seed, C=C, draws=draws)
    return _interval(float(value_b - value_a), rates_b - rates_a, shared)


class Redrawn(NamedTuple):
    """Published length-controlled win rates of M models in percent, and in each draw (M, D)."""

    rates_M: Floats
    drawn_MD: Floats


def redrawn(
    models: Sequence[Judged],
    auxiliary: Auxiliary,
    seed: int,
    *,
    C: float | None = None,
    draws: int = DRAWS,
) -> Redrawn:
    """Several models' win rates with one bootstrap, all refitted to the same draws.

    Raises:
        ScoreError: see `length_controlled_winrate`; or one is the baseline.
    """
    names = [_names(judged) for judged in models]
    every = dict.fromkeys(name for own in names for name in own)
    place = {name: index for index, name in enumerate(every)}
    values, entrants = [], []
    for judged, own in zip(models, names, strict=True):
        outcomes = _outcomes(judged, auxiliary)
        if _is_itself(outcomes):
            raise ScoreError(
                "the baseline's own win rate is 50 by definition, and cannot be redrawn",
                "whether the other model's interval holds 50 says as much",
            )
        found = glm.fit(outcomes, auxiliary.gamed, C)
        values.append(100 * glm.probabilities(outcomes.difficulty_N, found.weights).mean())
        entrants.append(Entrant(outcomes, found.C, np.array([place[name] for name in own])))
    drawn_MD = redrawn_win_rates(entrants, auxiliary.gamed, seed, draws=draws)
    return Redrawn(np.array(values), drawn_MD)


def length_controlled_minimal(
    preferences: Sequence[float | None],
    lengths: Sequence[int],
    baseline_lengths: Sequence[int],
    seed: int,
    *,
    draws: int = MINIMAL_DRAWS,
) -> LengthControlled:
    """The win rate at equal lengths: p = sigmoid(a * tanh(dl / sd(dl)) + c) fitted, then dl = 0.

    dl is the baseline's length minus the model's, in characters; sd over all rows,
    unjudged ones included, as upstream has it. L1-penalised with the strength
    chosen by five-fold cross-validation; the bootstrap over instructions repeats sd
    and fit at that strength.

    Source: tatsu-lab/alpaca_eval, metrics/glm_winrate.py (release 0.6.6), solved
    exactly where upstream's solver stops early, and without its strongest penalties.

    Raises:
        ScoreError: fewer judged items than two for each fold.
    """
    fit = _MinimalFit(Judged(preferences, lengths, baseline_lengths))
    fit_K = fit.weights(np.ones((1, len(preferences))))[0]
    redrawn_DK = fit.weights(_drawn_rows(len(preferences), seed, draws))
    value = float(100 * sigmoid(fit_K[1]))
    return LengthControlled(
        "length_controlled_minimal",
        _interval(value, 100 * sigmoid(redrawn_DK[:, 1]), int(fit.judged_N.sum())),
        float(fit_K[0]),
        float(fit_K[1]),
        fit.strength,
    )


def length_controlled_minimal_difference(
    a: Judged, b: Judged, seed: int, *, draws: int = MINIMAL_DRAWS
) -> Interval:
    """How far `b`'s `length_controlled_minimal` lies above `a`'s, in points, on the same draws.

    Raises:
        ScoreError: see `length_controlled_minimal`; or the two are not of the same instructions.
    """
    if list(_names(a)) != list(_names(b)):
        raise ScoreError("the two models were judged on different instructions")
    fits = [_MinimalFit(judged) for judged in (a, b)]
    count = len(a.preferences)
    rows_DN = np.vstack([np.ones((1, count)), _drawn_rows(count, seed, draws)])
    rates_a, rates_b = (100 * sigmoid(fit.weights(rows_DN)[:, 1]) for fit in fits)
    gain_D = rates_b - rates_a
    shared = int((fits[0].judged_N & fits[1].judged_N).sum())
    return _interval(float(gain_D[0]), gain_D[1:], shared)


class _MinimalFit:
    """A model's minimal form, its strength chosen, to be fitted to any counts of its rows."""

    def __init__(self, judged: Judged) -> None:
        self.judged_N = np.array([not is_missing(value) for value in judged.preferences])
        if self.judged_N.sum() < 2 * glm.FOLDS:
            raise ScoreError(f"a length-controlled win rate needs {2 * glm.FOLDS} judged items")
        self.won_N = np.where(self.judged_N, _won(judged.preferences), 0.5)
        self.delta_N = np.asarray(judged.baseline_lengths, float) - np.asarray(
            judged.lengths, float
        )
        gap_N = _gaps(self.delta_N, np.ones((1, len(self.won_N))))[0]
        self.strength = _choose_strength(gap_N[self.judged_N], self.won_N[self.judged_N])

    def weights(self, rows_DN: Floats) -> Floats:
        """Weights of the length difference and of the constant (D, 2)."""
        gap_DN = _gaps(self.delta_N, rows_DN)
        return _fit_minimal(gap_DN, self.won_N, rows_DN * self.judged_N, self.strength)


def _drawn_rows(count: int, seed: int, draws: int) -> Floats:
    """How often each of `count` rows is drawn (D, N)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)


def _outcomes(judged: Judged, auxiliary: Auxiliary) -> glm.Outcomes:
    delta_N = np.asarray(judged.baseline_lengths, float) - np.asarray(judged.lengths, float)
    known = len(auxiliary.difficulty_N)
    if len(delta_N) > known:
        raise ScoreError(
            f"there are {len(delta_N)} rows, and difficulties of {known} instructions",
            "the length-controlled win rate is defined for AlpacaEval's own instructions only",
        )
    return glm.Outcomes(_won(judged.preferences), delta_N, auxiliary.difficulty_N[: len(delta_N)])


def _won(preferences: Sequence[float | None]) -> Floats:
    """Win probabilities, NaN where the judge said nothing."""
    judged = iter(preferred(preferences))
    return np.array([np.nan if is_missing(value) else next(judged) for value in preferences])


def _names(judged: Judged) -> Sequence[Hashable]:
    return range(len(judged.lengths)) if judged.instructions is None else judged.instructions


def _is_itself(outcomes: glm.Outcomes) -> bool:
    judged_N = outcomes.won_N[~np.isnan(outcomes.won_N)]
    return bool((outcomes.delta_N == 0).all() and (judged_N == DRAW - 1).all())


def _of_the_baseline(auxiliary: Auxiliary, n: int) -> LengthControlled:
    """Against itself: even, with nothing to fit."""
    return LengthControlled(
        "length_controlled_winrate",
        Interval(50.0, 0.0, 50.0, 50.0, n),
        0.0,
        0.0,
        None,
        0.0,
        0.0,
        auxiliary.origin,
    )


def _interval(value: float, redrawn_D: Floats, n: int) -> Interval:
    low, high = np.quantile(redrawn_D, [0.025, 0.975])
    return Interval(value, float(redrawn_D.std(ddof=1)), float(low), float(high), n)


def _fit_minimal(
    gap_DN: Floats, won_N: Floats, rows_DN: Floats, strength_D: Floats | float
) -> Floats:
    """Weights of the length difference and of the constant (D, 2)."""
    strengths_D = np.broadcast_to(strength_D, len(rows_DN))
    return fit_l1([gap_DN, np.ones_like(won_N)], won_N, rows_DN, strengths_D)


def _choose_strength(gap_N: Floats, won_N: Floats) -> float:
    """The C of the grid with the least held-out log loss, the smallest of equals."""
    fold_N = glm.folds(len(won_N))
    train_FN = np.array([fold_N != fold for fold in range(glm.FOLDS)], float)
    rows_DN = np.repeat(train_FN, len(MINIMAL_GRID_C), axis=0)
    strengths_D = np.tile(MINIMAL_GRID_C, glm.FOLDS)
    fit_DK = _fit_minimal(gap_N[None, :], won_N, rows_DN, strengths_D)
    z_DN = fit_DK[:, :1] * gap_N + fit_DK[:, 1:]
    loss_DN = (np.logaddexp(0, z_DN) - won_N * z_DN) * (1 - rows_DN)
    held_out_D = loss_DN.sum(axis=1) / (1 - rows_DN).sum(axis=1)
    return float(MINIMAL_GRID_C[held_out_D.reshape(glm.FOLDS, -1).mean(axis=0).argmin()])


def _gaps(delta_N: Floats, rows_DN: Floats) -> Floats:
    """tanh of the length difference over its standard deviation among the drawn rows (ddof 1)."""
    total_D1 = rows_DN.sum(axis=1, keepdims=True)
    mean_D1 = (rows_DN @ delta_N)[:, None] / total_D1
    square_D1 = (rows_DN * (delta_N - mean_D1) ** 2).sum(axis=1, keepdims=True)
    sd_D1 = np.sqrt(square_D1 / (total_D1 - 1))
    ratio_DN = np.divide(delta_N, sd_D1, out=np.zeros(rows_DN.shape), where=sd_D1 > 0)
    return np.asarray(np.tanh(ratio_DN))
