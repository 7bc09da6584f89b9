"""Files of somebody's own data for the tests of sources, in every format that evalkit reads."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit import registry

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz", "json.gz", "csv.gz", "tsv.gz")
Row = dict[str, Any]


def source(name: str, **options: Any) -> Any:
    """A source plug-in with options."""
    plugin = registry.load("sources", name)
    return plugin(plugin.Options(**options))


def encoded(rows: Sequence[Row], ending: str) -> bytes:
    """Rows as the bytes of a file with that ending; CSV cells of lists are JSON text."""
    if ending.endswith(".gz"):
        return gzip.compress(encoded(rows, ending.removesuffix(".gz")))
    if ending == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if ending == "json":
        return json.dumps({"version": 1, "data": list(rows)}).encode()
    if ending == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
        return buffer.getvalue()
    text = io.StringIO()
    writer = csv.writer(text, delimiter="," if ending == "csv" else "\t")
    header = list(dict.fromkeys(key for row in rows for key in row))
    writer.writerow(header)
    writer.writerows([[_cell(row.get(name)) for name in header] for row in rows])
    return text.getvalue().encode()


def write(folder: Path, rows: Sequence[Row], ending: str = "jsonl", name: str = "mine") -> Path:
    """Writes a file of rows."""
    file = folder / f"{name}.{ending}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(rows, ending))
    return file


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
