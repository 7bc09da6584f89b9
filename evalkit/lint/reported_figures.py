"""A card's figures beside those that were reported of published models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from evalkit import baselines
from evalkit.baselines import KnownModel, ReportedScore
from evalkit.card_reading import Figure
from evalkit.leaderboard import read_definition
from evalkit.lint.context import Context
from evalkit.lint.facts import families_in, with_kin
from evalkit.lint.names import iteration_in, plain, sizes_in

# A card that names AlpacaEval without its version may mean either.
_EITHER_VERSION = {"alpaca_eval": ("alpaca_eval_1", "alpaca_eval_2")}
_ASKED = ("few_shot", "filter")  # settings that change what is asked, where both say them
_FEWEST = 2  # figures that must agree to be another's, with
_DIGITS = 7  # this many digits together
_SLACK = 0.1  # of sizes in names, some of which count no embeddings
_ON_LEADERBOARD = 6  # tasks of either Open LLM Leaderboard


def model_of(context: Context, figure: Figure) -> KnownModel | None:
    """The published model that a figure is said to be of; None for one that is not known."""
    if figure.model is not None:
        return baselines.known(figure.repo or "") or baselines.known(figure.model)
    named = (baselines.known(name.text) for name in context.subject.names)
    return next((model for model in named if model is not None), None)


def is_of_same(figure: Figure, score: ReportedScore) -> bool:
    """Whether both are the same metric of the same task, asked in the same way as far as said."""
    if score.task not in _EITHER_VERSION.get(figure.task, (figure.task,)):
        return False
    if figure.is_average:
        is_whole = figure.settings.get("tasks", _ON_LEADERBOARD) == _ON_LEADERBOARD
        return is_whole and figure.settings.get("leaderboard") == score.settings.get("leaderboard")
    asked = {key: value for key, value in score.settings.items() if key in _ASKED}
    asked = {**_asked_on(str(score.settings.get("leaderboard", ""))).get(score.task, {}), **asked}
    alike = all(figure.settings.get(key, value) == value for key, value in asked.items())
    return (
        figure.metric in (None, score.metric)
        and alike
        and score.settings.get("best_of") == figure.settings.get("best_of")
    )


@cache
def reported_by_model() -> Mapping[str, tuple[ReportedScore, ...]]:
    """All reported scores by the Hub id of their model."""
    found: dict[str, list[ReportedScore]] = {}
    for score in baselines.reported():
        found.setdefault(score.model, []).append(score)
    return {model: tuple(scores) for model, scores in found.items()}


@cache
def _asked_on(leaderboard: str) -> Mapping[str, Mapping[str, Any]]:
    """How a leaderboard asks its tasks."""
    columns = read_definition(leaderboard).columns if leaderboard else ()
    return {
        column.task: {key: value for key, value in column.settings.items() if key in _ASKED}
        for column in columns
    }


def scores_of(model: str) -> tuple[ReportedScore, ...]:
    """What was reported of a model, by its Hub id."""
    return reported_by_model().get(model, ())


def agreeing(
    figures: Sequence[Figure], scores: Sequence[ReportedScore]
) -> list[tuple[Figure, ReportedScore]]:
    """The figures that are these reported scores: several, or none.

    None where one of them was reported otherwise, or where so few digits agree by chance.
    """
    found = []
    for figure in figures:
        same = [score for score in scores if is_of_same(figure, score)]
        equal = [score for score in same if figure.equals(score.value, score.decimals)]
        if same and not equal:
            return []
        found += [(figure, equal[0])] if equal else []
    is_sure = len(found) >= _FEWEST and _digits(figure for figure, _ in found) >= _DIGITS
    return found if is_sure else []


def same_model(context: Context, one: Figure, other: Figure) -> bool:
    """Whether two figures of a card are of the same model."""
    if one.model is None or other.model is None:
        return one.model is other.model
    if plain(one.model) == plain(other.model) or (one.repo and one.repo == other.repo):
        return True
    known = model_of(context, one)
    return known is not None and known == model_of(context, other)


def _digits(figures: Iterable[Figure]) -> int:
    """How many digits figures show together: how unlikely it is that they agree by chance."""
    shown = (f"{figure.value:.{figure.decimals}f}".lstrip("0.") for figure in figures)
    return sum(one.isdigit() for number in shown for one in number)


def names_differ(name: str, model: KnownModel) -> bool:
    """Whether a name cannot be another way to write a published model's."""
    others = (model.id, *model.aliases)
    sizes = sizes_in(name)
    known = [size.parameters for other in others for size in sizes_in(other)]
    if sizes and known and not any(size.agrees(one, _SLACK) for size in sizes for one in known):
        return True
    for part in (_iterations, _families):
        mine, theirs = part((name,)), part(others)
        if mine and theirs and not mine & theirs:
            return True
    return False


def _iterations(names: Iterable[str]) -> frozenset[int]:
    return frozenset(number for name in names if (number := iteration_in(name)) is not None)


def _families(names: Iterable[str]) -> frozenset[str]:
    return with_kin(one.family for name in names for one in families_in(name))
