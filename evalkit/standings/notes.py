"""What must be known beside a table: who judged, what was imported, what does not compare."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.family import Member
from evalkit.leaderboard import Definition
from evalkit.standings.columns import Cell, Filled
from evalkit.standings.numbers import EMPTY, judge_name
from evalkit.standings.protocols import imported_from, result_of
from evalkit.standings.reported import found_in, is_reported, reported_mean


def notes_of(
    definition: Definition,
    averages: Sequence[Sequence[Cell | None]],
    columns: Sequence[Filled],
    members: Sequence[Member],
) -> list[str]:
    """Everything a reader of the table must know, the definition's own note first."""
    cells = [cell for cells in averages for cell in cells]
    cells += [cell for column in columns for cell in column.cells]
    notes = [definition.note] if definition.note else []
    if any(cell is not None and cell.ci_low is not None for cell in cells):
        notes.append("In brackets: 95 % confidence interval.")
    if any(cell is None for cell in cells):
        notes.append(f"{EMPTY}: not measured.")
    notes += _departure_notes(columns)
    notes += _harness_notes(definition, columns, members)
    notes += _imported_notes(columns, members)
    notes += _reported_notes(definition, columns, members)
    notes += _judge_notes(columns, members)
    return notes + [note for column in columns for note in column.notes]


def _departure_notes(columns: Sequence[Filled]) -> list[str]:
    """Which numbers are not those of the standard test that their task is named after, and why."""
    found: dict[str, dict[str, None]] = {}
    for column in columns:
        for score in column.scores:
            reason = score.settings.get("not_comparable") if score is not None else None
            if reason:
                found.setdefault(str(reason), {})[column.column.heading] = None
    return [
        f"Not comparable with published figures of the same name: {'; '.join(headings)} ({reason})."
        for reason, headings in found.items()
    ]


def _harness_notes(
    definition: Definition, columns: Sequence[Filled], members: Sequence[Member]
) -> list[str]:
    """Which harness and template made the numbers of a leaderboard that has its own harness."""
    if not definition.harness:
        return []
    found: dict[tuple[str, str], dict[str, None]] = {}
    for column in columns:
        for member, score in zip(members, column.scores, strict=True):
            if score is None or is_reported(member):
                continue
            harness = str(score.settings.get("harness", "a harness that is not stated"))
            template = _template(score.settings.get("chat_template"))
            found.setdefault((harness, template), {})[column.column.heading] = None
    return [
        f"Made with {harness}{template}{_unlike(definition, harness)}: {'; '.join(headings)}."
        for (harness, template), headings in found.items()
    ]


def _template(stated: object) -> str:
    return "" if stated is None else f", {'with' if stated else 'without'} a chat template"


def _unlike(definition: Definition, harness: str) -> str:
    if harness == definition.harness:
        return ""
    return f" (the leaderboard's own figures, made with {definition.harness}, are another test's)"


def _judge_notes(columns: Sequence[Filled], members: Sequence[Member]) -> list[str]:
    judged: dict[str, list[str]] = {}
    for column in columns:
        for member, score in zip(members, column.scores, strict=True):
            if score is None:
                continue
            judge = judge_name(result_of(member, column.column).provenance)
            headings = judged.setdefault(judge, []) if judge else []
            if column.column.heading not in headings:
                headings.append(column.column.heading)
    return [f"Judged by {judge}: {'; '.join(headings)}." for judge, headings in judged.items()]


def _reported_notes(
    definition: Definition, columns: Sequence[Filled], members: Sequence[Member]
) -> list[str]:
    """Which numbers somebody else states, and where."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for member in filter(is_reported, members):
        shown = [found_in(column.column, member) for column in columns]
        shown += [reported_mean(average, member) for average in definition.averages]
        for one in filter(None, shown):
            said = one.result.provenance["reported"]
            found.setdefault((str(said["url"]), str(said["date"])), {})[member.title] = None
    return [
        f"Reported, not measured by evalkit: {', '.join(titles)} ({url}, {date})."
        for (url, date), titles in found.items()
    ]


def _imported_notes(columns: Sequence[Filled], members: Sequence[Member]) -> list[str]:
    """Which numbers evalkit did not measure: those of a whole column, or of some models in it."""
    found: dict[str, list[str]] = {}
    for column in columns:
        tools: dict[str, list[str]] = {}
        for member, score in zip(members, column.scores, strict=True):
            if score is not None:
                tool = imported_from(result_of(member, column.column))
                tools.setdefault(tool, []).append(member.title)
        for tool in filter(None, tools):
            whose = "" if len(tools) == 1 else f" of {', '.join(tools[tool])}"
            found.setdefault(tool, []).append(f"{column.column.heading}{whose}")
    return [
        f"Imported from files of {tool}, not measured by evalkit: {'; '.join(what)}."
        for tool, what in found.items()
    ]
