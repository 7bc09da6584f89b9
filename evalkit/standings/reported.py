"""Figures that somebody reported, beside others: told apart, and never by another judge.

A judged number is what its judge makes of it. A reported one stands in a column of numbers that
were measured only if the same judge made both; one whose judge is not stated is taken for the
suite's official one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from evalkit.baselines.scores import AVERAGE
from evalkit.family import Member
from evalkit.leaderboard import Average, Column, Found, definition_names, read_definition
from evalkit.metrics.alpaca_eval_judge import OFFICIAL_ANNOTATOR, OFFICIAL_TASK
from evalkit.records import Score

REPORTED = " (reported)"  # the mark of a cell
# Source: tatsu-lab/alpaca_eval, constants.py; lm-sys/FastChat, llm_judge/README.md.
_OFFICIAL = {"alpaca_eval": OFFICIAL_ANNOTATOR, "mt_bench": "gpt-4"}


def is_reported(member: Member) -> bool:
    """Whether a row is of figures that somebody reported, and of nothing else."""
    return member.kind == "reported"


def made_of(column: Column, member: Member) -> tuple[Found, ...]:
    """The scores that a cell is made of; of a reported row, the figure of this task and metric."""
    if not is_reported(member):
        return column.made_of(member)
    return tuple(
        one
        for one in _figures(member, column.benchmark)
        if fnmatchcase(one.score.task, column.task) and one.score.metric == column.metric
    )[:1]


def found_in(column: Column, member: Member) -> Found | None:
    """The score that a cell shows, with the result set that it, or its first part, stands in."""
    if not is_reported(member):
        return column.found(member)
    return next(iter(made_of(column, member)), None)


def reported_mean(average: Average, member: Member) -> Found | None:
    """The mean that was reported of a row, whether its parts are known or not."""
    every = _figures(member, None) if is_reported(member) else ()
    means = (one for one in every if (one.score.task, one.score.metric) == (AVERAGE, AVERAGE))
    return next((one for one in means if _is_of(average, one.score)), None)


def _is_of(average: Average, mean: Score) -> bool:
    name = mean.settings.get("leaderboard")
    if name not in definition_names():
        return False
    return any(one.of == average.of for one in read_definition(str(name)).averages)


def _figures(member: Member, benchmark: str | None) -> Iterator[Found]:
    for result in member.results:
        if benchmark in (None, result.benchmark):
            yield from (Found(score, result) for score in result.scores)


def apart(members: Sequence[Member], scores: Sequence[Score | None]) -> Collection[int]:
    """Places of the reported scores, where others stand in the column too."""
    found = {i for i, score in enumerate(scores) if score is not None}
    told = {i for i in found if is_reported(members[i])}
    return told if len(told) < len(found) else set()


def without_other_judges(
    column: Column, members: Sequence[Member]
) -> tuple[list[Score | None], list[str]]:
    """A column's scores, reported ones by another judge than the measured ones' left out; notes."""
    found = [found_in(column, member) for member in members]
    judges = [_judge(column, member, one) for member, one in zip(members, found, strict=True)]
    measured = {
        judge
        for member, one, judge in zip(members, found, judges, strict=True)
        if one is not None and not is_reported(member)
    }
    scores: list[Score | None] = []
    left: dict[str, list[str]] = {}
    for member, one, judge in zip(members, found, judges, strict=True):
        if one is not None and is_reported(member) and measured and {judge} != measured:
            left.setdefault(judge, []).append(member.title)
            one = None
        scores.append(None if one is None else one.score)
    notes = [
        f"{column.heading} of {', '.join(titles)} is left out: judged by"
        f" {judge or 'a judge that is not stated'}, it shares no column with these."
        for judge, titles in left.items()
    ]
    return scores, notes


def _judge(column: Column, member: Member, one: Found | None) -> str:
    """Who judged, by the one name that tells judges apart; empty where nobody did."""
    if one is None:
        return ""
    if is_reported(member):
        return _named(one) or _OFFICIAL.get(column.benchmark, "")
    return OFFICIAL_ANNOTATOR if one.score.task == OFFICIAL_TASK else _named(one)


def _named(one: Found) -> str:
    judge = one.result.provenance.get("judge")
    if not isinstance(judge, Mapping):
        return str(judge or "")
    return str(judge.get("model") or judge.get("name") or judge.get("judge") or "")
