"""AlpacaEval's numbers from recorded preferences: pure functions, no model and no judge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evalkit.errors import ScoreError
from evalkit.metrics.score import measured
from evalkit.records import Scale, Score
from evalkit.stats import Interval, mean_interval

if TYPE_CHECKING:
    from evalkit.metrics.length_controlled import LengthControlled

DRAW = 1.5


class WinRateSummary(NamedTuple):
    """AlpacaEval's head-to-head numbers; rates in percent.

    n_total: judged items; n_missing: items without a preference.
    avg_length: mean output length in characters, cut to a whole number as published;
        None where no length is known.
    """

    win_rate: float
    standard_error: float | None
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    discrete_win_rate: float
    avg_length: int | None
    n_missing: int


def win_rate_summary(preferences: Sequence[float | None], lengths: Sequence[int]) -> WinRateSummary:
    """The numbers of one model against the baseline.

    preferences: from 1 (the baseline surely wins) to 2 (the model surely wins);
        0 and 1.5 are draws; None or NaN is a failed judgement.
    lengths: characters of each of the model's outputs, those left out that are not known.

    Source: tatsu-lab/alpaca_eval, metrics/helpers.py (release 0.6.6).

    Raises:
        ScoreError: no preference is usable, or one lies outside its range.
    """
    judged = preferred(preferences)
    wins = sum(value > 0.5 for value in judged)
    losses = sum(value < 0.5 for value in judged)
    discrete = [round(value) if value != 0.5 else 0.5 for value in judged]
    rate = mean_interval(judged).scaled(100)
    return WinRateSummary(
        win_rate=rate.value,
        standard_error=rate.stderr,
        n_wins=wins,
        n_wins_base=losses,
        n_draws=len(judged) - wins - losses,
        n_total=len(judged),
        discrete_win_rate=100 * sum(discrete) / len(judged),
        avg_length=int(np.mean(lengths)) if len(lengths) else None,
        n_missing=len(preferences) - len(judged),
    )


def win_rate_interval(preferences: Sequence[float | None]) -> Interval:
    """The win rate in percent with its Student interval, kept within 0 and 100."""
    return mean_interval(preferred(preferences)).scaled(100).clipped(0, 100)


def win_rate_scores(
    task: str,
    preferences: Sequence[float | None],
    lengths: Sequence[int],
    settings: Mapping[str, Any],
    controlled: LengthControlled | None,
) -> list[Score]:
    """All of a model's Scores, the win rate first; arguments as of `win_rate_summary`.

    controlled: the length-controlled win rate, where it was fitted.
    """
    summary = win_rate_summary(preferences, lengths)
    facts: dict[str, Any] = {"missing": summary.n_missing, "settings": settings}
    scores = [measured(task, "win_rate", win_rate_interval(preferences), "percent", **facts)]
    if controlled is not None:
        scores.append(measured(task, controlled.metric, controlled.win_rate, "percent", **facts))
    plain: list[tuple[str, float, Scale]] = [
        ("discrete_win_rate", summary.discrete_win_rate, "percent"),
        ("n_wins", summary.n_wins, "count"),
        ("n_wins_base", summary.n_wins_base, "count"),
        ("n_draws", summary.n_draws, "count"),
    ]
    scores += [
        Score(task, metric, float(value), summary.n_total, scale, **facts)
        for metric, value, scale in plain
    ]
    if summary.avg_length is not None:
        length = float(summary.avg_length)
        scores.append(Score(task, "avg_length", length, len(lengths), "count", settings=settings))
    return scores


def preferred(preferences: Sequence[float | None]) -> list[float]:
    """Win probabilities (0..1) of the judged items, failed judgements left out."""
    judged = [_win_probability(value) for value in preferences if not is_missing(value)]
    if not judged:
        raise ScoreError("no item has a preference: there is no win rate", "look at the judge")
    return judged


def is_missing(preference: float | None) -> bool:
    """Whether a preference is that of a failed judgement."""
    return preference is None or math.isnan(preference)


def _win_probability(preference: float | None) -> float:
    assert preference is not None
    preference = DRAW if preference == 0 else float(preference)
    if not 1 <= preference <= 2:
        raise ScoreError(f"a preference of {preference} is none: they go from 1 to 2")
    return preference - 1
