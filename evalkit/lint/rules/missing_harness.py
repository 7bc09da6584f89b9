"""Figures of standard tasks without the program that asked them."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.evaluation_notes import (
    listed,
    names_harness,
    names_harness_version,
    names_leaderboard_version,
    passages,
)
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """One finding for a card, at its first such figures."""
    first = next(passages(context, "shots"), None)
    lacking = list(_lacking(context)) if first else []
    if first and lacking:
        yield Finding(
            first.line,
            f"the card names no {listed(lacking, 'or')}",
            evidence=", ".join(f"{figure.task} {figure.text}" for figure in first.figures[:3]),
            fix="name the program and its version or commit, and link to its raw results",
        )


def _lacking(context: Context) -> Iterator[str]:
    if not names_harness(context):
        yield "evaluation harness"
    elif not names_harness_version(context):
        yield "version of the evaluation harness"
    if not names_leaderboard_version(context):
        yield "version of the Open LLM Leaderboard"


RULE = Rule(
    code="EK312",
    name="missing-harness",
    summary="Figures of standard tasks do not say which harness asked them, or its version.",
    why="The same task asked by two programs gives scores that differ by whole points.",
    check=check,
    severity="warning",
)
