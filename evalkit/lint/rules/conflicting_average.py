"""Two averages of one model that differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from evalkit.card_reading import Figure
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.reported_figures import same_model
from evalkit.lint.rule import Rule

_SHARED = 2  # tasks from which on two averages are taken for the same thing


class _Average(NamedTuple):
    """An average, the tasks it stands with, and the line of its table; 0 for a sentence's."""

    figure: Figure
    tasks: frozenset[str]
    table: int = 0


def check(context: Context) -> Iterator[Finding]:
    """Each average that an earlier one of the same model contradicts, once."""
    before: list[_Average] = []
    for average in _averages(context):
        for earlier in before:
            if _conflict(context, earlier, average):
                yield _finding(earlier, average)
                break
        before.append(average)


def _averages(context: Context) -> Iterator[_Average]:
    found = [
        _Average(figure, series.tasks, table.table.line)
        for table in context.scores.tables
        for series in table.models
        for figure in series.averages
    ]
    found += [
        _Average(figure, frozenset())
        for figure in context.scores.figures
        if figure.is_average and figure.where == "prose"
    ]
    return iter(sorted(found, key=lambda one: one.figure.line))


def _conflict(context: Context, one: _Average, other: _Average) -> bool:
    boards = [average.figure.settings.get("leaderboard") for average in (one, other)]
    is_same = boards[0] == boards[1] if any(boards) else len(one.tasks & other.tasks) >= _SHARED
    return (
        is_same
        and (one.table == 0 or one.table != other.table)  # rows of one table differ in something
        and not one.figure.agrees(other.figure)
        and same_model(context, one.figure, other.figure)
    )


def _finding(one: _Average, other: _Average) -> Finding:
    whose = other.figure.model or "this model"
    counts = [average.figure.settings.get("tasks") for average in (one, other)]
    said = [f" ({count} tasks)" if count else "" for count in counts]
    only = one.tasks ^ other.tasks if one.tasks and other.tasks else frozenset()
    return Finding(
        other.figure.line,
        f"{whose} has the average {other.figure.text}{said[1]} here and "
        f"{one.figure.text}{said[0]} in line {one.figure.line}",
        evidence=f"only one of them counts {', '.join(sorted(only))}" if only else "",
        fix="keep one, or say beside each which tasks it is the mean of",
    )


RULE = Rule(
    code="EK303",
    name="conflicting-average",
    summary="One model has two averages of the same leaderboard that differ.",
    why="A reader who meets one of them compares it with averages of other tasks.",
    check=check,
    severity="warning",
)
