"""Verifies a card: gathers what is known of its numbers from everywhere it was asked to look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.cards import records_of
from evalkit.errors import CardError
from evalkit.pipeline import remeasuring
from evalkit.pipeline.card_sources import OpenedCard, open_card
from evalkit.pipeline.exporting import families_of
from evalkit.pipeline.remeasuring import Remeasure
from evalkit.pipeline.result_files import Reading, read
from evalkit.rundir import PLAN
from evalkit.score_records import ScoreRecord, Store
from evalkit.verification import Checked, Known, check, claims_of, known_of
from evalkit.verification.known import RECORD


@dataclass(frozen=True)
class Places:
    """Where to look for what a card's numbers are, beside its own records.

    run: a finished run. results: files of other tools. importer: what reads them, where not the
    one that recognises each. remeasure: to measure again.
    """

    run: Path | None = None
    results: Sequence[Path] = ()
    importer: str | None = None
    remeasure: Remeasure | None = None


@dataclass(frozen=True)
class Verified:
    """Every number of a card with its verdict."""

    card: str
    checked: tuple[Checked, ...]

    def count(self, outcome: str) -> int:
        """How many numbers have this verdict."""
        return sum(one.outcome == outcome for one in self.checked)


def verify(text: str, places: Places) -> Verified:
    """A verdict on each number of the card that `text` names.

    Raises:
        CardError: there is no such card, its records were altered, or nothing can be looked up.
    """
    opened = open_card(text)
    store = opened.store() or Store({})
    cited = known_of(store.records.values(), RECORD, is_own=True)
    given = [*_of_run(places.run), *_of_results(opened, store, places)]
    if places.remeasure is not None:
        again = remeasuring.measured(opened, store, places.remeasure)
        given += known_of(again, "measured now", is_own=False)
    claims = claims_of(opened.card, [*cited, *given])
    return Verified(text, tuple(check(claims, cited, given, opened.names)))


def _of_run(run: Path | None) -> Iterator[Known]:
    """What a finished run measured."""
    if run is None:
        return
    if not (run / PLAN).is_file():
        raise CardError(f"{run} is not a run: it has no {PLAN}", "runs lie under runs/")
    for family in families_of([run]):
        yield from known_of(records_of(family), f"run {run}", is_own=True)


def _of_results(opened: OpenedCard, store: Store, places: Places) -> Iterator[Known]:
    """What files of other tools say; the very files that the card was made of bind it."""
    if not places.results:
        return
    read_from = {one.source["sha256"] for one in store.records.values() if one.origin == "imported"}
    readings = read(places.results, places.importer)
    alone = len({one.imported.model for one in readings}) == 1
    for one in readings:
        records = _records_of(one, opened if alone else None)
        digest = one.imported.result.provenance["imported"]["sha256"]
        yield from known_of(records, one.file.name, is_own=digest in read_from)


def _records_of(reading: Reading, opened: OpenedCard | None) -> list[ScoreRecord]:
    """The records of a result, under the card's own name where it is the only model's."""
    title = opened.card.title if opened is not None else reading.imported.model
    return list(records_of(remeasuring.family_of(title, [reading.imported.result])))
