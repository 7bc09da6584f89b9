"""A leaderboard as Apache Parquet: typed columns, title and notes in the schema's metadata."""

from __future__ import annotations

import io
import json
from typing import Any

from evalkit.standings import Standings
from evalkit.tables.rows import leaderboard_json, to_frame


def to_parquet(standings: Standings) -> bytes:
    """The rows of the CSV; `leaderboard`, `title`, `notes` (JSON) and more as metadata."""
    import pyarrow
    from pyarrow import parquet

    described = leaderboard_json(standings)
    del described["models"]
    table = pyarrow.Table.from_pandas(to_frame(standings), preserve_index=False)
    table = table.replace_schema_metadata({key: _text(value) for key, value in described.items()})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
