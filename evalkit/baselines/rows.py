"""Families of reported scores as rows for tables: a member per model and kind of reporter."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.baselines.models import known
from evalkit.baselines.results import results_of
from evalkit.baselines.scores import By, ReportedScore, families, reported
from evalkit.errors import Problem, did_you_mean
from evalkit.family import Member, ModelFacts
from evalkit.records import Checkpoint

_REPORTER: dict[By, str] = {"card": "its publisher", "official": "the leaderboard"}


def rows_of(names: Sequence[str]) -> tuple[Member, ...]:
    """The models of these families, in the order of their files.

    Figures of a model's publisher and of the leaderboard that ran it are rows of their own.

    Raises:
        RecipeError: there is no such family.
    """
    found: dict[tuple[str, By], list[ReportedScore]] = {}
    for name in dict.fromkeys(names):
        for score in reported(name):
            found.setdefault((score.model, score.by), []).append(score)
    return tuple(_row(model, by, scores) for (model, by), scores in found.items())


def problems_of(names: Sequence[str]) -> list[Problem]:
    """Names of families that are none, each at its place in the list."""
    return [
        Problem(str(place), f"no family of reported scores is called '{name}'",
                did_you_mean(name, families()))
        for place, name in enumerate(names)
        if name not in families()
    ]  # fmt: skip


def _row(model: str, by: By, scores: Sequence[ReportedScore]) -> Member:
    facts = known(model)
    assert facts is not None  # no score is read of a model without facts
    return Member(
        checkpoint=Checkpoint(f"reported by {_REPORTER[by]}: {model}", "", "", ""),
        kind="reported",
        title=f"{model.rpartition('/')[2]} (reported by {_REPORTER[by]})",
        repo_id=model,
        model=ModelFacts(None, facts.parameters, facts.context_length, None),
        results=results_of(model, scores),
    )
