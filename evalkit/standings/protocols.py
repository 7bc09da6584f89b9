"""How each number came about, and which ones of a column do not compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from evalkit.errors import CardError
from evalkit.family import Member
from evalkit.leaderboard import Column
from evalkit.records import ResultSet, Score
from evalkit.standings.reported import found_in


def unlike(
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
    result = result_of(member, column)
    return {
        **score.settings,
        "harness": result.provenance.get("harness"),
        "judge": json.dumps(result.provenance.get("judge"), sort_keys=True, default=str),
    }


def result_of(member: Member, column: Column) -> ResultSet:
    """The result set of a member that holds a column's score."""
    found = found_in(column, member)
    if found is None:
        raise CardError(f"{member.title} has no result for the column {column.heading}")
    return found.result


def imported_from(result: ResultSet) -> str:
    """The tool whose files a result was read from; empty where evalkit measured it."""
    imported = result.provenance.get("imported")
    return str(imported["tool"]) if imported else ""


def _shown(value: Any) -> str:
    return "not stated" if value is None else str(value)
