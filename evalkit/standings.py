"""Models against benchmarks as one table: values, intervals, n, and what must be known beside them.

Built from records alone and rounded once, here. Cards, leaderboards and the
terminal show the same table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from evalkit.errors import CardError
from evalkit.family import Family, Member
from evalkit.leaderboard import (
    DECIMALS,
    Average,
    Column,
    Definition,
    definition_for,
    label,
    read_definition,
)
from evalkit.markdown import Align, Markdown, bold, escape, link, table
from evalkit.records import ResultSet, Score

EMPTY = "–"
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Cell:
    """One number, unrounded, with its text as shown; `mark` points to a note."""

    value: float
    ci_low: float | None
    ci_high: float | None
    n: int | None
    missing: int
    text: str
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """One model; cells are None where it was not measured."""

    family: str
    member: Member
    cells: tuple[Cell | None, ...]
    own: bool = False


@dataclass(frozen=True)
class Standings:
    """The finished table: `headings` beside the model's name, `labels` the same without units."""

    definition: Definition
    labels: tuple[str, ...]
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


class PlainTable(NamedTuple):
    """A table as strings, for a terminal."""

    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def family_standings(
    family: Family, definition: Definition | str | None = None, own: str | None = None
) -> Standings:
    """The family in its own order: base, iterations, variants.

    definition: a name, a file, or the thing itself; default what fits the family's results.
    own: checkpoint name of the member whose row is to be bold.
    """
    return _standings([(family.name, member) for member in family.members], definition, own)


def sorted_standings(
    families: Sequence[Family], definition: Definition | str | None = None
) -> Standings:
    """The members of all families, best first by the definition's `sort_by`."""
    members = [(family.name, member) for family in families for member in family.members]
    standings = _standings(members, definition, None)
    place, higher = _sort_key(standings)

    def rank(row: Row) -> tuple[bool, float, str]:
        cell = row.cells[place] if row.cells else None
        if cell is None:
            return (True, 0.0, row.member.title)
        return (False, -cell.value if higher else cell.value, row.member.title)

    return replace(standings, rows=tuple(sorted(standings.rows, key=rank)))


def to_markdown(standings: Standings, links: Mapping[str, str] | None = None) -> Markdown:
    """The table, its notes below, own row bold; `links` maps checkpoint names to addresses."""
    rows = [_markdown_row(row, links or {}) for row in standings.rows]
    notes = "\n".join(f"- {escape(note)}" for note in standings.notes)
    right: list[Align] = ["right"]
    align = ["left", *right * len(standings.headings)]
    shown = table(["Model", *standings.headings], rows, align)
    return Markdown(f"{shown}\n\n{notes}" if notes else shown)


def to_plain(standings: Standings) -> PlainTable:
    """The table as strings, unescaped."""
    rows = [
        [row.member.title, *(cell.text if cell else EMPTY for cell in row.cells)]
        for row in standings.rows
    ]
    return PlainTable(["Model", *standings.headings], rows, list(standings.notes))


def decimals_of(score: Score, column: Column | None = None) -> int:
    """To how many decimals a score is shown."""
    if column is not None and column.decimals is not None:
        return column.decimals
    return DECIMALS[score.scale]


def number(value: float, decimals: int) -> str:
    """A finite number with exactly so many decimals, never `-0.0`.

    Raises:
        CardError: it is not finite.
    """
    if not math.isfinite(value):
        raise CardError(
            f"a number to be shown is {value}", "measure it again: it must not be published"
        )
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def with_interval(value: float, low: float | None, high: float | None, decimals: int) -> str:
    """`61.3 [55.7, 66.6]`, or the bare value where no interval is defined."""
    shown = number(value, decimals)
    if low is None or high is None:
        return shown
    return f"{shown} [{number(low, decimals)}, {number(high, decimals)}]"


def unit_of(score: Score) -> str:
    """The unit of a score's scale for people, empty where it has none."""
    return label("scales", score.scale)


def judge_name(provenance: Mapping[str, Any]) -> str:
    """Who judged, in one phrase; empty where nobody did."""
    judge = provenance.get("judge")
    if not judge:
        return ""
    if not isinstance(judge, Mapping):
        return str(judge)
    name = str(judge.get("name") or judge.get("judge") or "judge")
    model = judge.get("model")
    if not model:
        return name
    revision = judge.get("revision")
    return f"{name}, model {model}" + (f" at {revision}" if revision else "")


def _standings(
    members: Sequence[tuple[str, Member]], wanted: Definition | str | None, own: str | None
) -> Standings:
    definition = read_definition(wanted) if isinstance(wanted, str) else wanted
    definition = definition or definition_for([member for _, member in members])
    columns = [
        _Filled.of(column, [member for _, member in members]) for column in definition.columns
    ]
    averages = [_average_cells(average, definition, columns) for average in definition.averages]
    rows = tuple(
        Row(
            name,
            member,
            (*(cells[i] for cells in averages), *(column.cells[i] for column in columns)),
            own=member.checkpoint.name == own,
        )
        for i, (name, member) in enumerate(members)
    )
    labels = [average.label for average in definition.averages]
    return Standings(
        definition,
        labels=(*labels, *(column.column.heading for column in columns)),
        headings=(*labels, *(column.heading for column in columns)),
        rows=rows,
        notes=tuple(_notes(definition, columns, rows)),
    )


class _Filled(NamedTuple):
    """A column with a cell per member, its heading with unit and n, and what to say below."""

    column: Column
    scores: list[Score | None]
    cells: list[Cell | None]
    heading: str
    notes: list[str]

    @classmethod
    def of(cls, column: Column, members: Sequence[Member]) -> _Filled:
        scores = [column.score_of(member) for member in members]
        found = [score for score in scores if score is not None]
        same_n = len({(score.n, score.missing) for score in found}) == 1
        marks, notes = _unlike(column, members, scores)
        cells = [
            None if score is None else _cell(score, column, marks[i], with_n=not same_n)
            for i, score in enumerate(scores)
        ]
        heading = column.heading
        if found:
            unit = unit_of(found[0])
            extra = ", ".join(part for part in (unit, _items(found[0]) if same_n else "") if part)
            heading = f"{heading} ({extra})" if extra else heading
        return cls(column, scores, cells, heading, notes)


def _cell(score: Score, column: Column, mark: str, with_n: bool) -> Cell:
    text = with_interval(score.value, score.ci_low, score.ci_high, decimals_of(score, column))
    if with_n:
        text += f" ({_items(score)})"
    return Cell(score.value, score.ci_low, score.ci_high, score.n, score.missing, text + mark, mark)


def _items(score: Score) -> str:
    return f"n={score.n}" + (f", {score.missing} missing" if score.missing else "")


def _unlike(
    column: Column, members: Sequence[Member], scores: Sequence[Score | None]
) -> tuple[list[str], list[str]]:
    """A mark for every score measured otherwise than the first of its column, and the notes."""
    marks, notes = [""] * len(scores), []
    reference: dict[str, Any] | None = None
    for i, (member, score) in enumerate(zip(members, scores, strict=True)):
        if score is None:
            continue
        protocol = _protocol(column, member, score)
        reference = reference or protocol
        changed = sorted(
            key for key in {*reference, *protocol} if reference.get(key) != protocol.get(key)
        )
        if changed:
            marks[i] = " †"
            notes.append(
                f"† {column.heading} of {member.title} is not comparable with the others: "
                + "; ".join(f"{key} is {_shown(protocol.get(key))}" for key in changed)
            )
    return marks, notes


def _protocol(column: Column, member: Member, score: Score) -> dict[str, Any]:
    result = result_of(member, column.benchmark, score)
    return {
        **score.settings,
        "harness": result.provenance.get("harness"),
        "judge": json.dumps(result.provenance.get("judge"), sort_keys=True, default=str),
    }


def result_of(member: Member, benchmark: str, score: Score) -> ResultSet:
    """The result set of a member that holds this very score."""
    for result in member.results:
        if result.benchmark == benchmark and any(score is other for other in result.scores):
            return result
    raise CardError(
        f"{member.title} has no result of {benchmark} with {score.metric} of {score.task}"
    )


def _shown(value: Any) -> str:
    return "not stated" if value is None else str(value)


def _average_cells(
    average: Average, definition: Definition, columns: Sequence[_Filled]
) -> list[Cell | None]:
    parts = [column for column in columns if column.column.heading in average.of]
    return [
        _average([column.scores[i] for column in parts], average.decimals)
        for i in range(len(columns[0].cells))
    ]


def _average(scores: Sequence[Score | None], decimals: int) -> Cell | None:
    present = [score for score in scores if score is not None]
    if len(present) < len(scores) or len({score.scale for score in present}) > 1:
        return None
    value = sum(score.value for score in present) / len(present)
    errors = [score.stderr for score in present if score.stderr is not None]
    low = high = None
    if len(errors) == len(present):  # different tasks share no item: their errors are independent
        reach = Z95 * math.sqrt(sum(error * error for error in errors)) / len(errors)
        low, high = value - reach, value + reach
    text = with_interval(value, low, high, decimals)
    return Cell(value, low, high, None, sum(score.missing for score in present), text)


def _notes(definition: Definition, columns: Sequence[_Filled], rows: Sequence[Row]) -> list[str]:
    cells = [cell for row in rows for cell in row.cells]
    notes = [definition.note] if definition.note else []
    if any(cell is not None and cell.ci_low is not None for cell in cells):
        notes.append("In brackets: 95 % confidence interval.")
    if any(cell is None for cell in cells):
        notes.append(f"{EMPTY}: not measured.")
    notes += _judge_notes(columns, [row.member for row in rows])
    return notes + [note for column in columns for note in column.notes]


def _judge_notes(columns: Sequence[_Filled], members: Sequence[Member]) -> list[str]:
    judged: dict[str, list[str]] = {}
    for column in columns:
        for member, score in zip(members, column.scores, strict=True):
            if score is None:
                continue
            judge = judge_name(result_of(member, column.column.benchmark, score).provenance)
            headings = judged.setdefault(judge, []) if judge else []
            if column.column.heading not in headings:
                headings.append(column.column.heading)
    return [f"Judged by {judge}: {'; '.join(headings)}." for judge, headings in judged.items()]


def _sort_key(standings: Standings) -> tuple[int, bool]:
    definition = standings.definition
    place = standings.labels.index(definition.sort_by) if definition.sort_by else 0
    column = place - len(definition.averages)
    if column < 0 or not definition.columns:
        return place, True
    scores = (definition.columns[column].score_of(row.member) for row in standings.rows)
    first = next((score for score in scores if score is not None), None)
    return place, first.higher_is_better if first else True


def _markdown_row(row: Row, links: Mapping[str, str]) -> list[str]:
    title, address = row.member.title, links.get(row.member.checkpoint.name)
    shown = [
        link(title, address) if address else escape(title),
        *(Markdown(cell.text if cell else EMPTY) for cell in row.cells),
    ]
    return [bold(cell) for cell in shown] if row.own else list(shown)
