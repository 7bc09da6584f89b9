"""Figures that others report: a leaderboard's columns for them, and what of them can be checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from evalkit.baselines import AVERAGE
from evalkit.cards import sources, values
from evalkit.family import Member
from evalkit.leaderboard import Column, Definition, read_definition
from evalkit.markdown import Markdown, escape, link
from evalkit.records import ResultSet, Score
from evalkit.standings import decimals_of, number

_JUDGED = ("alpaca_eval", "mt_bench")
BOARD = "leaderboard"  # the setting that says on which leaderboard's scale a figure is


def board(definition: Definition) -> Definition:
    """A leaderboard's columns for figures that are reported on its scale, its mean among them.

    How such figures were made is for their source to say: shots and items are not asked for.
    """
    on_it = {BOARD: definition.name}
    columns = [
        column.model_copy(update={"settings": on_it, "n": None, "parts": (), "model_index": None})
        for column in definition.columns
    ]
    benchmark = definition.columns[0].benchmark
    mean = [
        Column(
            benchmark=benchmark,
            task=AVERAGE,
            metric=AVERAGE,
            label=f"{one.label} (as reported)",
            decimals=one.decimals,
            settings=on_it,
        )
        for one in definition.averages
    ]
    title = f"{definition.title.removesuffix(' tasks')}, as reported"
    changes = {"columns": (*mean, *columns), "averages": (), "harness": "", "title": title}
    return definition.model_copy(update=changes)


def of_one_source(definition: Definition, member: Member) -> Member:
    """The member with the results alone that a table shows: a row is never of two pages.

    What was measured or imported comes first, then what the publisher says, then others.
    """
    columns = definition.columns
    benchmarks = {column.benchmark for column in columns}
    reported = [
        result
        for result in member.results
        if "reported" in result.provenance and result.benchmark in benchmarks
    ]
    counted = [(sum(_shows(column, result) for column in columns), result) for result in reported]
    shown = [result for count, result in counted if count]
    own = [result for result in member.results if result not in reported]
    if not shown or any(_shows(column, result) for column in columns for result in own):
        return replace(member, results=tuple(own))
    best = max(
        (pair for pair in counted if pair[0]),
        key=lambda pair: (pair[1].provenance["reported"].get("by") == "card", pair[0]),
    )
    return replace(member, results=(best[1],))


def notes(
    definition: Definition, shown: Sequence[Member], members: Sequence[Member]
) -> Iterator[Markdown]:
    """What must be said of reported figures beside a table, a sentence each.

    By whom they are, which of them others contradict, and whether a mean is that of its parts.

    shown: the rows, each of one source; members: the same models with all that is known of them.
    """
    yield from _reporters(definition, shown)
    by_name = {member.checkpoint.name: member for member in members}
    for row in shown:
        yield from _other_figures(definition, row, by_name[row.checkpoint.name])
        yield from _mean(definition, row)


def by_whom(result: ResultSet) -> Markdown:
    """Who reports a figure, with a link to the page, and when that was."""
    said = result.provenance["reported"]
    by = sources.REPORTERS[said.get("by", "")]
    return Markdown(f"{link(by, said['url'])}, {escape(str(said['date']))}")


def decimals_in(result: ResultSet, score: Score) -> int:
    """To how many decimals a score is shown: a reported one as its page prints it."""
    if "reported" not in result.provenance or score.scale == "count":
        return decimals_of(score)
    alike = (one.value for one in result.scores if one.scale == score.scale)
    return max(len(f"{value!r}".partition(".")[2]) for value in alike)


def _shows(column: Column, result: ResultSet) -> bool:
    return column.benchmark == result.benchmark and any(map(column.admits, result.scores))


def _reporters(definition: Definition, members: Sequence[Member]) -> Iterator[Markdown]:
    found: dict[tuple[Markdown, str], dict[str, None]] = {}
    for member in members:
        results = [one.result for column in definition.columns if (one := column.found(member))]
        for result in results:
            if "reported" in result.provenance:
                unsaid = result.benchmark in _JUDGED and not result.provenance.get("judge")
                said = " Its page does not say who judged." if unsaid else ""
                found.setdefault((by_whom(result), said), {})[member.title] = None
    for (who, said), titles in found.items():
        models = ", ".join(escape(title) for title in titles)
        yield Markdown(f"Reported by {who}, not measured by evalkit: {models}.{said}")


def _other_figures(definition: Definition, row: Member, member: Member) -> Iterator[Markdown]:
    """Where another page has another number for a cell of the table."""
    told: dict[str, list[str]] = {}
    for column in definition.columns:
        shown = column.found(row)
        for result in member.results:
            if shown is None or result is shown.result or "reported" not in result.provenance:
                continue
            for score in result.scores:
                admitted = result.benchmark == column.benchmark and column.admits(score)
                if admitted and not _is_same(score, shown.score, column):
                    who = f"{by_whom(result)}{_how(score, shown.score)}"
                    what = f"{escape(column.heading)} {_number(score, column)}"
                    told.setdefault(who, []).append(what)
    for who, numbers in told.items():
        yield Markdown(f"{escape(row.title)} according to {who}: {'; '.join(numbers)}.")


def _how(score: Score, shown: Score) -> str:
    """The settings in which a figure differs from the one in the table."""
    changed = {k: v for k, v in score.settings.items() if shown.settings.get(k) != v}
    return f" ({values.phrase(changed)})" if changed else ""


def _mean(definition: Definition, member: Member) -> Iterator[Markdown]:
    """Whether a reported mean is that of the other columns of its leaderboard."""
    columns = {column.task: column for column in definition.columns}
    mean = columns.pop(AVERAGE, None)
    shown = mean.found(member) if mean else None
    if mean is None or shown is None:
        return
    parts = [column.score_of(member) for column in columns.values()]
    known = [part.value for part in parts if part is not None]
    total = _parts_of(definition)
    what = escape(f"{mean.heading} of {member.title}")
    if len(known) < total:
        lack = total - len(known)
        yield Markdown(f"{what} cannot be checked: {lack} of its {total} parts are not known here.")
        return
    own = sum(known) / total
    step = 10 ** -decimals_of(shown.score, mean)
    if abs(own - shown.score.value) > 0.51 * step:
        yield Markdown(f"{what} is not the mean of its {total} parts, which is {number(own, 2)}.")


def _parts_of(definition: Definition) -> int:
    """How many tasks the mean of a leaderboard is of, those that the table lacks included."""
    return len(read_definition(definition.name).averages[0].of)


def _is_same(score: Score, shown: Score, column: Column) -> bool:
    return _number(score, column) == _number(shown, column)


def _number(score: Score, column: Column) -> str:
    return number(score.value, decimals_of(score, column))
