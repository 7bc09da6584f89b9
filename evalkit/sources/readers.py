"""Reads one file of rows: JSONL, JSON, CSV, TSV or Parquet, the text formats also gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.sources.rows import Faults, Row, RowError, Table, place

Reader = Callable[[Path, str, Faults], list[Row]]
# Python reads no longer ones: docs.python.org/3/library/stdtypes.html, int max str digits.
_TOO_LONG = f"holds a whole number of more than {sys.get_int_max_str_digits():,} digits"


def read_table(name: str, files: Mapping[str, Path]) -> Table:
    """The rows of some files, one after the other.

    files: the name that people are shown -> where it is.

    Raises:
        RecipeError: a file cannot be read as what its ending says, or there is no row.
    """
    faults, rows = Faults(), list[Row]()
    for shown, path in files.items():
        rows += _reader(shown)(path, shown, faults)
    if not rows and not faults.total:
        raise RecipeError(f"{name} has no rows", "see docs/data.md for what a row may hold")
    columns = dict.fromkeys(column for row in rows for column in row.values)
    return Table(name, tuple(files), tuple(columns), rows, faults)


def ending(name: str) -> str:
    """The part of a file's name that says its format (`jsonl`, `csv.gz` -> `csv`); '' if none."""
    stem = name.lower().removesuffix(".gz")
    word = stem.rpartition(".")[2]
    if word not in READERS or (word in ("parquet", "pq") and stem != name.lower()):
        return ""
    return word


def without_ending(name: str) -> str:
    """A file's name without the endings that say its format."""
    bare = name[:-3] if name.lower().endswith(".gz") else name
    return bare[: -len(ending(name)) - 1] if ending(name) else name


def _reader(name: str) -> Reader:
    found = ending(name)
    if not found:
        raise RecipeError(
            f"{name} is of no format that evalkit reads",
            f"it reads {', '.join(f'.{word}' for word in READERS)}; the text formats also as .gz",
        )
    return READERS[found]


def _bytes(path: Path, shown: str) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if shown.lower().endswith(".gz") else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecipeError(f"{shown} is not whole gzip data: {error}", "fetch it again") from error
    except OSError as error:
        raise RecipeError(f"cannot read {shown}: {error.strerror}", "check the path") from error


def _text(path: Path, shown: str) -> str:
    content = _bytes(path, shown)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        coding = "UTF-16" if utf16 else "LATIN1"
        raise RecipeError(
            f"{shown}:{line}  not UTF-8: byte 0x{content[error.start]:02x}",
            f"convert it: iconv -f {coding} -t UTF-8 {Path(shown).name}",
        ) from error


def _read_jsonl(path: Path, shown: str, faults: Faults) -> list[Row]:
    return _json_lines(_text(path, shown), shown, faults)


def _json_lines(text: str, shown: str, faults: Faults) -> list[Row]:
    rows = []
    # Not splitlines: it also splits at characters that may stand inside a JSON text (U+2028).
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise RowError("", "not a JSON object")
            rows.append(Row(shown, number, values, by_line=True))
        except json.JSONDecodeError as error:
            fault = RowError("", f"not JSON: {error.msg} at character {error.colno}", "not JSON")
            faults.add(place(shown, number, True), fault)
        except RowError as fault:
            faults.add(place(shown, number, True), fault)
        except ValueError:
            faults.add(place(shown, number, True), RowError("", _TOO_LONG))
    return rows


def _read_json(path: Path, shown: str, faults: Faults) -> list[Row]:
    text = _text(path, shown)
    if not text.strip():
        return []
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return _json_lines(text, shown, faults)  # many datasets call their JSONL .json
        raise RecipeError(
            f"{shown}:{error.lineno}  not JSON: {error.msg} at character {error.colno}"
        ) from error
    except ValueError as error:
        raise RecipeError(f"{shown}  {_TOO_LONG}", "write it as a text") from error
    rows = []
    for number, values in enumerate(_listed(value, shown), start=1):
        if isinstance(values, dict):
            rows.append(Row(shown, number, values))
        else:
            faults.add(place(shown, number, False), RowError("", "not a JSON object"))
    return rows


def _listed(value: Any, shown: str) -> list[Any]:
    """The rows of a JSON document: a list, or the one list in an object."""
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        if len(lists) == 1:
            return lists[0]
        if not lists and len(value) and not any(isinstance(v, dict) for v in value.values()):
            return [value]  # a JSONL of a single row
        raise RecipeError(
            f"{shown} is an object with {len(lists)} lists ({', '.join(value)}), not with one",
            "write a list of objects, one per row",
        )
    if not isinstance(value, list):
        raise RecipeError(f"{shown} is not a list of objects", "write one object per row")
    return value


def _read_delimited(delimiter: str) -> Reader:
    def read(path: Path, shown: str, faults: Faults) -> list[Row]:
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        lines = csv.reader(
            io.StringIO(_text(path, shown), newline=""), delimiter=delimiter, strict=True
        )
        try:
            return _cells(lines, shown, faults)
        except csv.Error as error:
            raise RecipeError(
                f"{shown}:{lines.line_num}  not {'CSV' if delimiter == ',' else 'TSV'}: {error}",
                "a text with quotes, line breaks or the separator in it stands in double quotes",
            ) from error

    return read


def _cells(lines: Iterable[list[str]], shown: str, faults: Faults) -> list[Row]:
    iterator = iter(lines)
    header = [name.strip() for name in next(iterator, [])]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise RecipeError(f"{shown} has two columns called '{twice[0]}'", "rename one of them")
    rows = []
    for number, cells in enumerate((line for line in iterator if line), start=1):
        if len(cells) == len(header):
            values = {name: cell for name, cell in zip(header, cells, strict=True) if name}
            rows.append(Row(shown, number, values))
        else:
            said = f"has {len(cells)} cells, and the header has {len(header)}"
            fault = RowError("", said, "another number of cells than the header")
            faults.add(place(shown, number, False), fault)
    return rows


def _read_parquet(path: Path, shown: str, faults: Faults) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            values = [row for batch in file.iter_batches() for row in batch.to_pylist()]
    except FileNotFoundError as error:
        raise RecipeError(f"cannot read {shown}: {error.strerror}", "check the path") from error
    except (pa.ArrowException, OSError) as error:
        raise RecipeError(
            f"{shown} is not a whole Parquet file: {str(error).splitlines()[0]}", "fetch it again"
        ) from error
    return [Row(shown, number, row) for number, row in enumerate(values, start=1)]


READERS: dict[str, Reader] = {
    "jsonl": _read_jsonl,
    "ndjson": _read_jsonl,
    "json": _read_json,
    "csv": _read_delimited(","),
    "tsv": _read_delimited("\t"),
    "parquet": _read_parquet,
    "pq": _read_parquet,
}
