"""A leaderboard as Apache Parquet: typed columns, title and notes in the schema's metadata."""

from __future__ import annotations

import io
import json
import math
from typing import Any

from evalkit.errors import CardError
from evalkit.standings import Standings
from evalkit.tables.rows import fields, leaderboard_json, records


def to_parquet(standings: Standings) -> bytes:
    """The rows of the CSV; `leaderboard`, `title`, `notes` (JSON) and more as metadata.

    Raises:
        CardError: a number is not finite.
    """
    import pyarrow
    from pyarrow import parquet

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    described = leaderboard_json(standings)
    rows = described.pop("models")
    schema = pyarrow.schema(
        [pyarrow.field(field.name, types[field.kind]) for field in fields(standings)],
        metadata={key: _text(value) for key, value in described.items()},
    )
    for row in rows:
        if any(isinstance(value, float) and not math.isfinite(value) for value in row.values()):
            raise CardError(
                f"the leaderboard {standings.definition.name} holds a number that is not finite"
            )
    table = pyarrow.Table.from_pylist(records(standings), schema=schema)
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
