"""Figures that a judge gave, without who judged, by which version, over which baseline."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.card_reading import Figure
from evalkit.lint.context import Context
from evalkit.lint.evaluation_notes import (
    Passage,
    listed,
    names_alpaca_version,
    names_baseline,
    names_judge,
    passages,
)
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_ALPACA_EVAL = "alpaca_eval"
_NAMES = {_ALPACA_EVAL: "AlpacaEval", "mt_bench": "MT-Bench", "arena_hard": "Arena-Hard"}

_SAY = {
    "version": "of which edition they are (AlpacaEval 1 or 2)",
    "judge": "who judged, model and version",
    "baseline": "over whose answers they were won",
}


def check(context: Context) -> Iterator[Finding]:
    """One finding for each table with such figures, and in a section's text one for each suite."""
    for passage in (part for one in passages(context, "judge") for part in _parts(one)):
        suites = _suites(passage)
        lacking = list(_lacking(context, suites))
        if lacking:
            yield Finding(
                passage.line,
                f"the {listed([_NAMES.get(one, one) for one in suites])} figures name no "
                f"{listed(lacking, 'or')}",
                evidence=f"{passage.figures[0].text} and {len(passage.figures) - 1} more"
                if len(passage.figures) > 1
                else passage.figures[0].text,
                fix=f"say {listed([_SAY[one] for one in lacking])}",
            )


def _parts(passage: Passage) -> Iterator[Passage]:
    if passage.figures[0].where == "table":
        yield passage
        return
    for suite in _suites(passage):
        figures = tuple(figure for figure in passage.figures if _suite(figure) == suite)
        yield Passage(figures[0].line, figures)


def _suites(passage: Passage) -> list[str]:
    return list(dict.fromkeys(map(_suite, passage.figures)))


def _suite(figure: Figure) -> str:
    return _ALPACA_EVAL if figure.task.startswith(_ALPACA_EVAL) else figure.task


def _lacking(context: Context, suites: list[str]) -> Iterator[str]:
    if _ALPACA_EVAL in suites and not names_alpaca_version(context):
        yield "version"
    if not names_judge(context):
        yield "judge"
    if set(suites) & {_ALPACA_EVAL, "arena_hard"} and not names_baseline(context):
        yield "baseline"


RULE = Rule(
    code="EK310",
    name="missing-judge",
    summary="Judged figures name no judge, or AlpacaEval's no version or baseline.",
    why="Another judge or baseline moves a win rate by more than most methods do.",
    check=check,
    severity="warning",
)
