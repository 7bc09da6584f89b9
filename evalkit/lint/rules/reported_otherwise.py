"""A published model's figure that is neither its authors' nor the leaderboard's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalkit.baselines import KnownModel, ReportedScore
from evalkit.card_reading import Figure
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.reported_figures import is_of_same, model_of, reported_by_model, scores_of
from evalkit.lint.rule import Rule
from evalkit.lint.rules.misattribution import misattributions


def check(context: Context) -> Iterator[Finding]:
    """Figures that differ from all that was reported; misattributed ones are told as such."""
    found = misattributions(context, reported_by_model())
    told = {id(figure) for one in found for figure in one.figures}
    for figure in context.scores.figures:
        model = model_of(context, figure)
        if model is None or id(figure) in told:
            continue
        same = [score for score in scores_of(model.id) if is_of_same(figure, score)]
        if same and not any(figure.equals(score.value, score.decimals) for score in same):
            yield _finding(figure, model, same)


def _finding(figure: Figure, model: KnownModel, same: Sequence[ReportedScore]) -> Finding:
    shown = (f"{score.value:.{score.decimals}f} ({score.by}, {score.date})" for score in same)
    values = ", ".join(dict.fromkeys(shown))
    return Finding(
        figure.line,
        f"{model.id} has {figure.text} on {figure.task} here; reported were {values}",
        evidence=", ".join(dict.fromkeys(score.source for score in same)),
        fix="correct it, or say that it was measured anew, and how",
    )


RULE = Rule(
    code="EK317",
    name="reported-otherwise",
    summary="A published model's figure differs from its own card's and from the leaderboard's.",
    why="A slip in a baseline makes a method look better or worse than it is.",
    check=check,
    severity="warning",
)
