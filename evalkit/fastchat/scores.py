"""MT-Bench's numbers from recorded judgments, as JSON values, for `evalkit score mt-bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError, ScoreError, did_you_mean
from evalkit.fastchat.judgments import (
    JudgedMatch,
    JudgedRating,
    kind_of,
    one_judge,
    read_matches,
    read_ratings,
)
from evalkit.metrics.matches import Match, against, match_summary, players
from evalkit.metrics.ratings import Rating, RatingSummary, summarise
from evalkit.stats import Interval

TURNS = ("turn_1", "turn_2")
_CATEGORY = "category_"
_HINT = "give a file of FastChat's model_judgment/: *_single.jsonl, *_pair.jsonl"


def recorded_scores(files: Sequence[Path], baseline: str | None = None) -> dict[str, Any]:
    """The scores in files of ratings, of matches, or of both, by one judge.

    Of ratings: `turn_1 turn_2 average n n_missing categories intervals`, over everything; with
    several models, the same for each under `models`. Of matches: win rates under `pairwise`.

    baseline: only matches against this model count.

    Raises:
        RecipeError: a file is damaged or holds something else, or several judges are in them.
        ScoreError: no judgment in them is usable, or the baseline is not among the models.
    """
    kinds = [_kind(file) for file in files]
    rated = [one for file, kind in zip(files, kinds, strict=True) if kind == "single"
             for one in read_ratings(file)]  # fmt: skip
    played = [one for file, kind in zip(files, kinds, strict=True) if kind == "pair"
              for one in read_matches(file)]  # fmt: skip
    where = ", ".join(str(file) for file in files)
    found: dict[str, Any] = {"judge": one_judge(where, _judges(rated, played))}
    if rated:
        found |= _rating_scores(rated, where)
    if played:
        found["pairwise"] = _match_scores([one.match for one in played], baseline, where)
    return found


def _kind(file: Path) -> str:
    if not file.is_file():
        raise RecipeError(f"there is no file {file}", _HINT)
    kind = kind_of(file)
    if kind is None:
        raise RecipeError(f"{file} holds no judgments of MT-Bench", _HINT)
    return kind


def _judges(rated: Sequence[JudgedRating], played: Sequence[JudgedMatch]) -> list[str]:
    return [one.judge for one in rated] + [one.judge for one in played]


def _rating_scores(rated: Sequence[JudgedRating], where: str) -> dict[str, Any]:
    by_model: dict[str, list[Rating]] = {}
    for one in rated:
        by_model.setdefault(one.model, []).append(one.rating)
    total = _numbers([one.rating for one in rated])
    if total["n"] == 0:
        raise ScoreError(f"all {len(rated)} judgments in {where} failed", "look at the judge")
    if len(by_model) == 1:
        return {"model": next(iter(by_model)), **total}
    return {**total, "models": {model: _numbers(own) for model, own in by_model.items()}}


def _numbers(ratings: Sequence[Rating]) -> dict[str, Any]:
    """Null where there is no valid rating."""
    found = summarise(ratings)
    valid = sum(rating.score is not None for rating in ratings)
    names = (*TURNS, "average")
    categories = {
        name.removeprefix(_CATEGORY): one for name, one in found.items()
        if name.startswith(_CATEGORY)
    }  # fmt: skip
    return {
        **{name: _value(found.get(name)) for name in names},
        "n": valid,
        "n_missing": len(ratings) - valid,
        "categories": {name: _value(one) for name, one in categories.items()},
        "intervals": {
            **{name: _limits(found[name].interval) for name in names if name in found},
            "categories": {name: _limits(one.interval) for name, one in categories.items()},
        },
    }


def _value(summary: RatingSummary | None) -> float | None:
    return None if summary is None else summary.interval.value


def _limits(interval: Interval) -> list[float | None]:
    return [interval.low, interval.high]


def _match_scores(matches: Sequence[Match], baseline: str | None, where: str) -> dict[str, Any]:
    models = players(matches)
    if baseline is not None:
        if baseline not in models:
            raise ScoreError(f"no match in {where} is against {baseline}",
                             did_you_mean(baseline, models))  # fmt: skip
        matches = against(matches, baseline)
        models = [model for model in players(matches) if model != baseline]
    judged = [match for match in matches if match.outcome is not None]
    if not judged:
        raise ScoreError(f"all {len(matches)} matches in {where} failed", "look at the judge")
    return {
        **({} if baseline is None else {"baseline": baseline}),
        "n": len(judged),
        "n_missing": len(matches) - len(judged),
        "n_inconsistent": sum(not match.is_consistent for match in judged),
        "models": dict(_standings(matches, models)),
    }


def _standings(
    matches: Sequence[Match], models: Sequence[str]
) -> list[tuple[str, dict[str, Any] | None]]:
    """The best first; null of a model none of whose matches was judged."""
    found = [(model, _standing(matches, model)) for model in models]
    return sorted(found, key=lambda one: 1.0 if one[1] is None else -one[1]["win_rate_adjusted"])


def _standing(matches: Sequence[Match], model: str) -> dict[str, Any] | None:
    found = match_summary(matches, model)
    if found is None:
        return None
    rates = {name: getattr(found, name) for name in ("win_rate", "loss_rate", "win_rate_adjusted")}
    return {
        "wins": found.wins,
        "losses": found.losses,
        "ties": found.ties,
        **{name: rate.value for name, rate in rates.items()},
        "n": found.win_rate.n,
        "n_missing": found.missing,
        "n_inconsistent": found.inconsistent,
        "intervals": {name: _limits(rate) for name, rate in rates.items()},
    }
