"""Figures without any sign of how certain they are."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.evaluation_notes import names_spread, passages
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """One finding for a card none of whose figures has one."""
    first = next(passages(context), None)
    if first is None or names_spread(context):
        return
    count = sum(figure.where != "metadata" for figure in context.scores.figures)
    yield Finding(
        first.line,
        "no score has an interval, a standard error or a number of items"
        if count > 1
        else "the score has no interval, standard error or number of items",
        evidence=f"{count} scores, the first {first.figures[0].text.strip()}"
        if count > 1
        else first.figures[0].text.strip(),
        fix="give each score its 95 % interval and n",
    )


RULE = Rule(
    code="EK313",
    name="missing-interval",
    summary="No figure of the card has an interval, an error or a number of items.",
    why="Without it nobody can tell a gain from noise.",
    check=check,
    severity="warning",
)
