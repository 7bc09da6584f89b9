"""Builds the card of a card order, with the records and files that belong beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.cards import (
    CARD_FILE,
    Book,
    build_files,
    eval_result_paths,
    is_sealed,
    records_of,
    results_folder,
)
from evalkit.durable import write_bytes, write_text
from evalkit.errors import CardError
from evalkit.family import Family, Member
from evalkit.pipeline.card_order import CardOrder
from evalkit.pipeline.evaluation import RESULT, SAMPLES
from evalkit.pipeline.ordered_family import family_of
from evalkit.records import ResultSet, dumps, to_json
from evalkit.score_records import write_store


class BuiltCard(NamedTuple):
    """What building a card wrote, and of what. member: of the family, the card's own."""

    card: Path
    records: list[Path]
    family: Family
    member: Member


def build(order: CardOrder, folder: Path, command: str, overwrite: bool = False) -> BuiltCard:
    """Writes the card, and beside it the records that its numbers come from.

    command: what builds it again; it stands on the card.

    Raises:
        RecipeError: nothing is recognised, or it is not clear which results are the model's.
        CardError: the folder holds a card that evalkit did not write, or one edited by hand.
    """
    family = family_of(order, command)
    member = family.member(order.model)
    book = Book(records_of(family))
    before = _before(folder, overwrite)
    files = build_files(family, member, book=book, before=before, overwrite=overwrite)
    records = []
    for name, result in _imported(member.results):
        write_text(folder / name / RESULT, _text({**to_json(result), "samples": []}))
        lines = "".join(f"{dumps(sample)}\n" for sample in result.samples)
        write_text(folder / name / SAMPLES, lines)
        records.append(folder / name)
    write_store(folder, book.records, book.citations)
    for name, content in files.items():
        write_bytes(folder / name, content)
    for left in (path for path in eval_result_paths() if path not in files):
        (folder / left).unlink(missing_ok=True)  # of results that the card no longer has
    return BuiltCard(folder / CARD_FILE, records, family, member)


def describe(built: BuiltCard) -> dict[str, Any]:
    """What was built, as JSON values."""
    member = built.member
    origins = [result.provenance for result in member.results]
    return {
        "card": str(built.card),
        "records": [str(folder) for folder in built.records],
        "model": member.repo_id or member.title,
        "imported": [dict(one["imported"]) for one in origins if "imported" in one],
        "reported": [dict(one["reported"]) for one in origins if "reported" in one],
        "scores": [
            {"benchmark": result.benchmark, **to_json(score)}
            for result in member.results
            for score in result.scores
        ],
    }


def _imported(results: Sequence[ResultSet]) -> Iterator[tuple[str, ResultSet]]:
    """The folder of each imported result: its benchmark's, with one below if there are several."""
    imported = [result for result in results if "imported" in result.provenance]
    for result in imported:
        alone = sum(other.benchmark == result.benchmark for other in imported) == 1
        folder = results_folder(result.benchmark)
        digest = str(result.provenance["imported"]["sha256"])
        yield (folder if alone else f"{folder}/{digest[:12]}"), result


def _before(folder: Path, overwrite: bool) -> str | None:
    """The card that is to be replaced, None where there is none.

    Raises:
        CardError: somebody else wrote it, and it is not to be overwritten.
    """
    file = folder / CARD_FILE
    if not file.exists():
        return None
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    if not overwrite and not is_sealed(text):
        raise CardError(
            f"{file} was not written by evalkit", "name another folder with --out, or --replace it"
        )
    return text


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
