"""Which tables of results a card shows: one that holds everything, or one for each suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from evalkit.cards import reported_figures
from evalkit.cards.lineage import parent_of
from evalkit.cards.reported_figures import BOARD
from evalkit.family import Family, Member
from evalkit.leaderboard import Column, Definition, definition_names, derived, read_definition
from evalkit.markdown import Markdown
from evalkit.standings import Standings, family_standings, to_markdown


class ResultTable(NamedTuple):
    """A table, and the heading it gets beside others; empty for the only one.

    notes: what must be known of it beside what the table says itself.
    """

    title: str
    standings: Standings
    notes: tuple[Markdown, ...] = ()

    def markdown(self, addresses: Mapping[str, str]) -> Markdown:
        """The table with all notes below it; `addresses` maps checkpoint names to pages."""
        shown = to_markdown(self.standings, addresses)
        notes = "\n".join(f"- {note}" for note in self.notes)
        apart = "\n" if self.standings.notes else "\n\n"
        return Markdown(f"{shown}{apart}{notes}" if notes else shown)


def result_tables(
    family: Family,
    member: Member,
    definition: Definition | str | None = None,
    own_row: bool = True,
) -> list[ResultTable]:
    """The tables of a member's card, its own row marked; none where nothing was measured.

    definition: a leaderboard that the one table follows. By default a run's family has one table,
        and a model of which only figures are known one for each suite: such figures come from
        several places, and few of them are complete.
    """
    own = member.checkpoint.name if own_row else None
    if member.imported is None or definition is not None:
        standings = family_standings(family, definition, own)
        return [ResultTable("", standings)] if standings.definition.columns else []
    found = [
        (one, _with_numbers(one, family.members, member))
        for one in _by_suite(family.members, _told_of(family, member))
    ]
    return [
        ResultTable(
            one.title if len(found) > 1 else "",
            family_standings(replace(family, members=shown), one, own),
            tuple(reported_figures.notes(one, shown, family.members)),
        )
        for one, shown in found
    ]


def _told_of(family: Family, member: Member) -> Member:
    """Whose numbers the page is about: the parent's, where the model itself has none."""
    return member if member.results else parent_of(family, member) or member


def _with_numbers(
    definition: Definition, members: Sequence[Member], own: Member
) -> tuple[Member, ...]:
    """The rows of a table: the own one, and all that are not empty; one source in each."""
    single = [reported_figures.of_one_source(definition, member) for member in members]
    return tuple(
        one
        for one in single
        if one.checkpoint == own.checkpoint
        or any(column.score_of(one) for column in definition.columns)
    )


def _by_suite(members: Sequence[Member], told_of: Member) -> Iterator[Definition]:
    for benchmark in dict.fromkeys(result.benchmark for result in told_of.results):
        yield from _of_suite(benchmark, members, told_of)


def _of_suite(benchmark: str, members: Sequence[Member], told_of: Member) -> Iterator[Definition]:
    """The definitions that show most of a suite, cut to what there is, and one for the rest."""
    left = [_in(member, benchmark) for member in members]
    names = definition_names()
    every = [reported_figures.board(read_definition(name)) for name in names]
    every += [read_definition(name) for name in names]
    fitting = [
        cut
        for one in every
        if (cut := _cut(one, left)) is not None
        and any(column.score_of(told_of) for column in cut.columns)
    ]
    shown: list[Column] = []
    for one in sorted(fitting, key=lambda one: -len(one.columns)):
        if not any(_covered(column, shown) for column in one.columns):
            shown += one.columns
            yield one
    rest = derived([_without(_in(told_of, benchmark), shown)])
    if rest.columns:
        yield rest


def _in(member: Member, benchmark: str) -> Member:
    """The member with its results on one suite alone."""
    kept = (result for result in member.results if result.benchmark == benchmark)
    return replace(member, results=tuple(kept))


def _cut(definition: Definition, members: Sequence[Member]) -> Definition | None:
    """The columns of a definition that some member has a number for; None without any."""
    columns = tuple(c for c in definition.columns if any(c.score_of(m) for m in members))
    if not columns:
        return None
    headings = {column.heading for column in columns}
    averages = tuple(one for one in definition.averages if set(one.of) <= headings)
    scores = [score for c in columns for m in members if (score := c.score_of(m)) is not None]
    # A leaderboard's note says that evalkit ran it, and AlpacaEval's speaks of intervals.
    says = not definition.harness and any(score.ci_low is not None for score in scores)
    changes = {"columns": columns, "averages": averages, "sort_by": None}
    return definition.model_copy(update={**changes, "note": definition.note if says else ""})


def _covered(column: Column, shown: Sequence[Column]) -> bool:
    return any(
        one.benchmark == column.benchmark
        and one.covers(column.task)
        and one.settings.get(BOARD) == column.settings.get(BOARD)
        for one in shown
    )


def _without(member: Member, shown: Sequence[Column]) -> Member:
    """The member with those of its scores alone whose task no column shows."""
    results = []
    for result in member.results:
        columns = [column for column in shown if column.benchmark == result.benchmark]
        scores = tuple(
            score
            for score in result.scores
            if not any(column.covers(score.task) for column in columns)
        )
        results.append(replace(result, scores=scores))
    return replace(member, results=tuple(results))
