"""The numbers that AlpacaEval publishes of a model, from a file of its annotations."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from evalkit.errors import RecipeError, ScoreError
from evalkit.importers.alpaca_eval_annotations import Annotations, read
from evalkit.metrics import alpaca_eval_data
from evalkit.metrics.alpaca_eval_data import Auxiliary
from evalkit.metrics.length_controlled import (
    SEED,
    Judged,
    LengthControlled,
    length_controlled_difference,
    length_controlled_winrate,
)
from evalkit.metrics.win_rate import WinRateSummary, win_rate_summary
from evalkit.stats import Interval


class AlpacaEvalScore(NamedTuple):
    """One model's numbers.

    n_missing: of AlpacaEval's instructions, those without a preference, in the file or not.
    controlled: None for instructions that are not AlpacaEval's own.
    """

    model: str
    summary: WinRateSummary
    n_missing: int
    controlled: LengthControlled | None

    def published(self) -> dict[str, float | int | None]:
        """By the keys of alpaca_eval's leaderboard, and those of our own."""
        summary, controlled = self.summary, self.controlled
        interval = controlled.win_rate if controlled else None
        return {
            "win_rate": summary.win_rate,
            "standard_error": summary.standard_error,
            "n": summary.n_total,
            "n_missing": self.n_missing,
            "avg_length": summary.avg_length,
            "length_controlled_winrate": interval.value if interval else None,
            "lc_standard_error": controlled.published_stderr if controlled else None,
            "lc_standard_error_bootstrap": interval.stderr if interval else None,
            "C": controlled.C if controlled else None,
        }


class Difference(NamedTuple):
    """How many points one length-controlled win rate lies above that of `other`, paired."""

    other: str
    points: Interval

    def as_json(self) -> dict[str, float | int | str | None]:
        """With the limits of the 95 % interval, and over how many common instructions."""
        points = self.points
        return {
            "other": self.other,
            "difference": points.value,
            "standard_error": points.stderr,
            "ci_low": points.low,
            "ci_high": points.high,
            "n": points.n,
        }


def score(file: Path, aux: Path | None, C: float | None) -> AlpacaEvalScore:
    """The numbers of the one model in a file.

    aux: folder of the auxiliary data; by default the Hub's file where it is prefetched, else the
        file's own folder.

    Raises:
        PrerequisiteError: there is no auxiliary data.
        RecipeError: a file is damaged, or holds several models.
    """
    annotations = _of_one_model(file)
    auxiliary = _auxiliary(file, aux) if annotations.official else None
    try:
        return _score(annotations, auxiliary, C)
    except ScoreError as error:
        raise RecipeError(f"{file}: {error.message}", error.hint) from error


def difference(file: Path, other: Path, aux: Path | None, C: float | None) -> Difference:
    """How far `file`'s length-controlled win rate lies above `other`'s, paired.

    Raises:
        PrerequisiteError, RecipeError: as `score`.
    """
    first, second = _of_one_model(file), _of_one_model(other)
    own = [str(one.file) for one in (first, second) if not one.official]
    if own:
        raise RecipeError(
            f"{own[0]} is of other instructions than AlpacaEval's own",
            "length-controlled win rates are defined for these alone",
        )
    judged, judged_other = _judged(first), _judged(second)
    auxiliary = _auxiliary(file, aux)
    try:
        found = length_controlled_difference(judged_other, judged, auxiliary, SEED, C=C)
    except ScoreError as error:
        raise RecipeError(f"{file} and {other}: {error.message}", error.hint) from error
    return Difference(second.model, found)


def _score(
    annotations: Annotations, auxiliary: Auxiliary | None, C: float | None
) -> AlpacaEvalScore:
    summary = win_rate_summary(annotations.preferences, annotations.output_lengths)
    if auxiliary is None:
        return AlpacaEvalScore(annotations.model, summary, summary.n_missing, None)
    controlled = length_controlled_winrate(
        _judged(annotations), auxiliary, SEED, C=C, is_baseline=annotations.of_the_baseline
    )
    missing = len(auxiliary.difficulty_N) - summary.n_total
    return AlpacaEvalScore(annotations.model, summary, missing, controlled)


def _of_one_model(file: Path) -> Annotations:
    found = read(file)
    if len(found) > 1:
        names = ", ".join(one.model for one in found)
        raise RecipeError(f"{file} holds several models: {names}", "give each a file of its own")
    return found[0]


def _judged(annotations: Annotations) -> Judged:
    judged = annotations.judged()
    if judged is None:
        raise RecipeError(
            f"{annotations.file}: not every row says how long both outputs are",
            "rows need output_1 and output_2, or len_reference and len_model",
        )
    return judged


def _auxiliary(file: Path, folder: Path | None) -> Auxiliary:
    if folder is None and alpaca_eval_data.prefetched_file() is None:
        folder = file.parent if alpaca_eval_data.holds(file.parent) else None
    return alpaca_eval_data.read(folder)
