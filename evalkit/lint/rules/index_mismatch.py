"""A result of the model-index that the body of the card gives another value."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.card_reading import Figure
from evalkit.lint.context import Context
from evalkit.lint.evaluation_notes import listed
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_SAME_SOURCE = 2  # other tasks that must agree for both to be taken for one evaluation


def check(context: Context) -> Iterator[Finding]:
    """An error where the other tasks agree, so that both are one evaluation; else a warning."""
    own = [figure for figure in context.scores.figures if figure.model is None]
    shown = [figure for figure in own if figure.where != "metadata"]
    indexed = [figure for figure in own if figure.where == "metadata"]
    for figure in indexed:
        same = [one for one in shown if figure.is_of_same(one)]
        if not same or any(figure.agrees(one) for one in same):
            continue
        agreeing = {
            one.task for one in indexed for other in shown
            if one.task != figure.task and one.is_of_same(other) and one.agrees(other)
        }  # fmt: skip
        yield Finding(
            figure.line,
            f"the model-index gives {figure.task} {_number(figure)}, "
            f"line {same[0].line} {_number(same[0])}",
            evidence=f"on {listed(sorted(agreeing))} they agree" if agreeing else "",
            fix="write the same value in both; if they were measured differently, say how",
            severity=None if len(agreeing) >= _SAME_SOURCE else "warning",
        )


def _number(figure: Figure) -> str:
    value, decimals = figure.on_scale
    return f"{value:.{decimals}f}" if figure.scale == "unit" else figure.text


RULE = Rule(
    code="EK306",
    name="index-mismatch",
    summary="The model-index and the body give the same score two values.",
    why="The Hub shows the one, the page the other.",
    check=check,
)
