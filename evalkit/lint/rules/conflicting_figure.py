"""A sentence and a table that give one model two values of one score."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.card_reading import Figure
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.reported_figures import same_model
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """Each figure of a sentence that no table has, though one has another value for it."""
    figures = context.scores.figures
    for said in figures:
        if said.where != "prose" or said.is_average:  # averages have a rule of their own
            continue
        shown = [one for one in figures if one.where == "table" and _is_of_same(context, said, one)]
        if shown and not any(said.agrees(one) for one in shown):
            yield Finding(
                said.line,
                f"the text gives {said.model or 'the model'} {said.text} on {said.task}, "
                f"the table in line {shown[0].line} {shown[0].text}",
                evidence=f"line {said.line}: {said.text}; line {shown[0].line}: {shown[0].text}",
                fix="keep the right one; if both are right, say how they differ",
                severity=None if _asked_alike(said, shown[0]) else "warning",
            )


def _is_of_same(context: Context, said: Figure, shown: Figure) -> bool:
    return said.is_of_same(shown) and same_model(context, said, shown)


def _asked_alike(said: Figure, shown: Figure) -> bool:
    """Whether both say the same of how they were asked, or neither says anything."""
    return said.settings.get("few_shot") == shown.settings.get("few_shot")


RULE = Rule(
    code="EK305",
    name="conflicting-figure",
    summary="The text and a table give the same score of the same model two values.",
    why="One of them is wrong, and a reader cannot tell which.",
    check=check,
)
