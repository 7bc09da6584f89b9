"""A family's table for the terminal, and leaderboards over families as Markdown, CSV and JSON.

pandas is imported by the export alone. CSV and JSON carry the records' numbers
unrounded, with interval, n and missing beside each; Markdown shows them as cards do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import CardError, missing_extra
from evalkit.family import Family
from evalkit.leaderboard import Definition
from evalkit.markdown import escape
from evalkit.standings import (
    Cell,
    PlainTable,
    Row,
    Standings,
    family_standings,
    sorted_standings,
    to_markdown,
    to_plain,
)

if TYPE_CHECKING:
    import pandas

FACTS = ("value", "ci_low", "ci_high", "n", "missing")


def family_table(
    family: Family, definition: Definition | str | None = None, own: str | None = None
) -> PlainTable:
    """The family's table as strings: `columns`, `rows` (in the family's order) and `notes`.

    definition: a leaderboard by name, by file, or itself; default what fits the results.
    """
    return to_plain(family_standings(family, definition, own))


def export_leaderboard(
    families: Sequence[Family], folder: Path, definition: Definition | str | None = None
) -> list[Path]:
    """Writes `<name>.md`, `.csv` and `.json` of all members, best first; returns the files.

    Raises:
        CardError: there is no such definition, or a number is not finite.
    """
    standings = sorted_standings(families, definition)
    frame = leaderboard_frame(standings)
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / standings.definition.name
    texts = {".md": _markdown(standings), ".csv": _csv(frame), ".json": _json(standings, frame)}
    files = []
    for suffix, text in texts.items():
        file = stem.with_name(stem.name + suffix)
        file.write_text(text, encoding="utf-8", newline="")
        files.append(file)
    return files


def leaderboard_frame(standings: Standings) -> pandas.DataFrame:
    """One row per model: who it is, then value, interval, n and missing of every column."""
    try:
        import pandas
    except ImportError as error:
        raise missing_extra("pandas", "report") from error
    return pandas.DataFrame(
        [_record(standings, row) for row in standings.rows],
        dtype=object,  # else a missing count would turn all counts of its column into floats
    )


def _record(standings: Standings, row: Row) -> dict[str, Any]:
    member = row.member
    record: dict[str, Any] = {
        "family": row.family,
        "model": member.title,
        "checkpoint": member.checkpoint.name,
        "kind": member.kind,
        "repository": member.repo_id,
        "precision": member.checkpoint.precision,
        "parameters": member.model.parameters,
        "size_bytes": member.model.size_bytes,
        "digest": member.checkpoint.digest,
    }
    for label, cell in zip(standings.labels, row.cells, strict=True):
        record |= {f"{label} {fact}": _fact(cell, fact) for fact in FACTS}
    return record


def _fact(cell: Cell | None, fact: str) -> float | int | None:
    value: float | int | None = getattr(cell, fact) if cell else None
    return value


def _markdown(standings: Standings) -> str:
    return f"# {escape(standings.definition.title)}\n\n{to_markdown(standings)}\n"


def _csv(frame: pandas.DataFrame) -> str:
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def _json(standings: Standings, frame: pandas.DataFrame) -> str:
    definition = standings.definition
    columns = [
        {
            "label": column.heading,
            "benchmark": column.benchmark,
            "task": column.task,
            "metric": column.metric,
        }
        for column in definition.columns
    ]
    value = {
        "leaderboard": definition.name,
        "title": definition.title,
        "columns": columns,
        "averages": [average.model_dump(mode="json") for average in definition.averages],
        "models": [
            {
                str(key): None if value is None or value != value else value
                for key, value in row.items()
            }
            for row in frame.to_dict(orient="records")
        ],
        "notes": list(standings.notes),
    }
    try:
        return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise CardError(
            f"the leaderboard {definition.name} holds a number that is not finite"
        ) from error
