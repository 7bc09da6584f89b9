"""A leaderboard as rows of named values, the same in CSV, JSON and Parquet."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.errors import CardError
from evalkit.standings import Row, Standings

if TYPE_CHECKING:
    import pandas

FACTS = {"value": float, "stderr": float, "ci_low": float, "ci_high": float, "n": int,
         "missing": int}  # fmt: skip


class Field(NamedTuple):
    """One column of the rows: its name, and what its values are where they are not None."""

    name: str
    kind: type


# Who a row is about; what is unknown of a model (as of imported results) is None.
MODEL = (
    Field("family", str),
    Field("model", str),
    Field("checkpoint", str),
    Field("kind", str),
    Field("repository", str),
    Field("precision", str),
    Field("parameters", int),
    Field("size_bytes", int),
    Field("digest", str),
)


def fields(standings: Standings) -> list[Field]:
    """Who it is, then value, standard error, interval, n and missing of every column."""
    facts = [
        Field(f"{label} {fact}", kind) for label in standings.labels for fact, kind in FACTS.items()
    ]
    return [*MODEL, *facts]


def records(standings: Standings) -> list[dict[str, Any]]:
    """One record per model, with all `fields` in their order.

    Raises:
        CardError: a number is not finite.
    """
    found = [_record(standings, row) for row in standings.rows]
    values = (value for record in found for value in record.values())
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise CardError(
            f"the leaderboard {standings.definition.name} holds a number that is not finite"
        )
    return found


def to_frame(standings: Standings) -> pandas.DataFrame:
    """The records as a table of nullable columns, typed even where all is unknown."""
    import pandas

    nullable = {str: "string", int: "Int64", float: "Float64"}
    dtypes: dict[str, Any] = {field.name: nullable[field.kind] for field in fields(standings)}
    frame = pandas.DataFrame(records(standings), columns=list(dtypes), dtype=object)
    return frame.astype(dtypes)


def to_csv(standings: Standings) -> bytes:
    """Comma-separated values with a header; None is empty."""
    text: str = to_frame(standings).to_csv(index=False, lineterminator="\n")
    return text.encode()


def to_json(standings: Standings) -> bytes:
    """The table with its definition and notes."""
    value = leaderboard_json(standings)
    return f"{json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)}\n".encode()


def leaderboard_json(standings: Standings) -> dict[str, Any]:
    """The table with its definition and notes, as plain values."""
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
    return {
        "leaderboard": definition.name,
        "title": definition.title,
        "columns": columns,
        "averages": [average.model_dump(mode="json") for average in definition.averages],
        "models": records(standings),
        "notes": list(standings.notes),
    }


def _record(standings: Standings, row: Row) -> dict[str, Any]:
    member = row.member
    record: dict[str, Any] = {
        "family": row.family,
        "model": member.title,
        "checkpoint": member.checkpoint.name,
        "kind": member.kind,
        "repository": member.repo_id,
        "precision": member.checkpoint.precision or None,
        "parameters": member.model.parameters,
        "size_bytes": member.model.size_bytes,
        "digest": member.checkpoint.digest or None,
    }
    for label, cell in zip(standings.labels, row.cells, strict=True):
        record |= {f"{label} {fact}": getattr(cell, fact) if cell else None for fact in FACTS}
    return record
