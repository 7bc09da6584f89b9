"""Figures of few-shot tasks without the number of examples."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.evaluation_notes import listed, passages, without_shots
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """One finding for each table or section with such figures."""
    for passage in passages(context, "shots"):
        tasks = without_shots(context, passage)
        if tasks:
            yield Finding(
                passage.line,
                f"how many examples {listed(tasks)} {'was' if len(tasks) == 1 else 'were'} "
                "asked with is not said",
                evidence=", ".join(figure.text for figure in passage.figures[:3]),
                fix="write it beside the task: 'ARC-Challenge (25-shot)'",
            )


RULE = Rule(
    code="EK311",
    name="missing-shots",
    summary="Figures of few-shot tasks do not say with how many examples.",
    why="Five examples more or less can outweigh the difference between two models.",
    check=check,
    severity="warning",
)
