"""Figures of one model under the name of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from evalkit import baselines
from evalkit.baselines import KnownModel, ReportedScore
from evalkit.card_reading import Figure
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.reported_figures import (
    agreeing,
    model_of,
    names_differ,
    reported_by_model,
    scores_of,
)
from evalkit.lint.rule import Rule


class Misattribution(NamedTuple):
    """Figures that a card gives one model and that were reported of another."""

    figures: tuple[Figure, ...]
    scores: tuple[ReportedScore, ...]
    other: KnownModel


def check(context: Context) -> Iterator[Finding]:
    """One finding for each row or sentence; a warning where the model that is named is unknown."""
    for found in misattributions(context, reported_by_model()):
        first = found.figures[0]
        shown = " and ".join(figure.text for figure in found.figures)
        claimed = first.model or "the card's own model"
        right = _right(context, found)
        yield Finding(
            first.line,
            f"{shown} are given as scores of {claimed}, but are those of {found.other.id}",
            evidence=f"reported of {found.other.id}: {_sources(found.scores)}"
            + (f"; of {claimed} itself: {right}" if right else ""),
            fix=f"name {found.other.id}, or give the scores of {claimed}",
            severity=None if model_of(context, first) else "warning",
        )


def misattributions(
    context: Context, reported: Mapping[str, Sequence[ReportedScore]]
) -> Iterator[Misattribution]:
    """Rows and sentences whose figures are all those of one other model.

    reported: scores by the Hub id of their model.
    """
    for figures in _groups(context):
        claimed = model_of(context, figures[0])
        if claimed and agreeing(figures, reported.get(claimed.id, ())):
            continue
        fitting = [
            Misattribution(tuple(figure for figure, _ in pairs), tuple(s for _, s in pairs), model)
            for name, scores in reported.items()
            if (pairs := agreeing(figures, scores)) and (model := baselines.known(name))
        ]
        fitting = [one for one in fitting if _is_other(context, figures[0], claimed, one.other)]
        if fitting:
            yield max(fitting, key=lambda one: len(one.figures))


def _groups(context: Context) -> Iterator[tuple[Figure, ...]]:
    """Figures of one model in one table, and in one sentence or line."""
    for table in context.scores.tables:
        yield from (series.figures for series in table.models if series.figures)
    lines: dict[tuple[int, str | None], list[Figure]] = {}
    for figure in context.scores.figures:
        if figure.where == "prose":
            lines.setdefault((figure.line, figure.model), []).append(figure)
    yield from map(tuple, lines.values())


def _is_other(
    context: Context, figure: Figure, claimed: KnownModel | None, other: KnownModel
) -> bool:
    if claimed is not None:
        return claimed.id != other.id
    if figure.model is not None:
        return names_differ(figure.model, other)
    names = [name.text for name in context.subject.names]
    return (
        bool(names)
        and not context.subject.is_base(other.id)
        and all(names_differ(name, other) for name in names)
    )


def _right(context: Context, found: Misattribution) -> str:
    """What was reported of the model that is named, for the same metrics."""
    claimed = model_of(context, found.figures[0])
    wanted = {(score.task, score.metric) for score in found.scores}
    scores = scores_of(claimed.id) if claimed else ()
    right = [score for score in scores if (score.task, score.metric) in wanted]
    values = ", ".join(f"{score.metric} {score.value:.{score.decimals}f}" for score in right)
    return f"{values} ({_sources(right)})" if right else ""


def _sources(scores: Sequence[ReportedScore]) -> str:
    return ", ".join(sorted({score.source for score in scores}))


RULE = Rule(
    code="EK301",
    name="misattribution",
    summary="Two or more figures of one row or sentence are those of another model.",
    why="A reader takes one model for another, and the figures are quoted on.",
    check=check,
)
