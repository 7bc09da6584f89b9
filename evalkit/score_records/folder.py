"""The folder `records/` beside a card: a file per record, and which number of the card is whose.

records/
  DIGEST.json    a record in canonical JSON, named by the sha256 of its text
  index.json     each number that the card shows, with the digests of what it is made of
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.durable import write_text
from evalkit.errors import CardError
from evalkit.records import dumps, from_json
from evalkit.score_records.record import ScoreRecord

FOLDER = "records"
INDEX = "index.json"


@dataclass(frozen=True)
class Citation:
    """A number that a card shows. name: what the card calls it; records: digests of its records.

    Several records: it is computed of all of them, such as an average.
    """

    model: str
    name: str
    shown: str
    records: tuple[str, ...]


@dataclass(frozen=True)
class Store:
    """What lies in a folder: records by digest, and the numbers that cite them."""

    records: Mapping[str, ScoreRecord]
    citations: tuple[Citation, ...] = ()


def write_store(folder: Path, records: Iterable[ScoreRecord], cited: Sequence[Citation]) -> None:
    """Writes `folder`/records anew: the cited records alone, and the index."""
    place = folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)
    wanted = {digest for citation in cited for digest in citation.records}
    for record in records:
        if record.digest in wanted:
            write_text(place / f"{record.digest}.json", dumps(record))
    lines = ",\n".join(dumps(one) for one in dict.fromkeys(cited))
    write_text(place / INDEX, f"[\n{lines}\n]\n" if lines else "[]\n")


def read_store(folder: Path) -> Store | None:
    """What lies in `folder`/records; None where there is no such folder.

    Raises:
        CardError: a record was altered or is gone, or is none.
    """
    place = folder / FOLDER
    if not place.is_dir():
        return None
    files = sorted(file for file in place.glob("*.json") if file.name != INDEX)
    records = {file.stem: _read(file) for file in files}
    citations = tuple(_citations(place / INDEX))
    for citation in citations:
        for digest in citation.records:
            if digest not in records:
                raise CardError(
                    f"{place / digest}.json is gone: the card's {citation.shown} for"
                    f" {citation.name} of {citation.model} rests on it",
                    "build the card again, or fetch the whole repository",
                )
    return Store(records, citations)


def _read(file: Path) -> ScoreRecord:
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != file.stem:
        raise CardError(
            f"{file} was altered: it is named by the digest of what it held, and holds other text",
            "fetch the repository again, or build the card again",
        )
    try:
        return from_json(ScoreRecord, json.loads(content))
    except (TypeError, AttributeError, ValueError) as error:
        raise CardError(f"{file} is no record of a score: {error}") from None


def _citations(file: Path) -> list[Citation]:
    try:
        rows: Any = json.loads(file.read_text("utf-8"))
        return [from_json(Citation, row) for row in rows]
    except FileNotFoundError:
        raise CardError(f"{file} is gone", "build the card again") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise CardError(f"{file} is no index of records: {error}") from None
