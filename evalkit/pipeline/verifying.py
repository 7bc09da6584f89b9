"""Verifies a card: gathers what is known of its numbers from everywhere it was asked to look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.card_reading.model_names import model_key
from evalkit.cards import records_of
from evalkit.errors import CardError
from evalkit.family import Family
from evalkit.pipeline import carding, evaluation, remeasuring
from evalkit.pipeline.card_sources import OpenedCard, open_card
from evalkit.pipeline.exporting import families_of
from evalkit.pipeline.family import known_as
from evalkit.pipeline.remeasuring import Remeasure
from evalkit.pipeline.result_files import Reading, read
from evalkit.recipe import as_data
from evalkit.recipe_file import read_recipe
from evalkit.rundir import PLAN, RECIPE, RunDir
from evalkit.score_records import ScoreRecord, Store, read_store
from evalkit.verification import Checked, Known, check, claims_beside, claims_of, known_of
from evalkit.verification.known import RECORD


@dataclass(frozen=True)
class Places:
    """Where to look for what a card's numbers are, beside its own records.

    run: of evalkit, as far as it has measured. results: files of other tools. importer: what reads
    them, where not the one that recognises each. remeasure: to measure again.
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

    def count(self, verdict: str) -> int:
        """How many numbers have this verdict."""
        return sum(one.verdict == verdict for one in self.checked)


def verify(text: str, places: Places) -> Verified:
    """A verdict on each number of the card that `text` names.

    Raises:
        CardError: there is no such card, its records were altered, or nothing can be looked up.
    """
    opened = open_card(text)
    beside = opened.beside()
    store = read_store(beside) or Store({})
    cited = known_of(store.records.values(), RECORD, is_own=True)
    given = [*_of_run(places.run, opened, store), *_of_results(opened, store, places)]
    if places.remeasure is not None:
        again = remeasuring.measured(opened, store, places.remeasure)
        given += known_of(again, "measured now", is_own=False)
    known = [*cited, *given]
    names = {name for one in known for name in one.names}
    claims = [*claims_of(opened.card, known), *claims_beside(beside, names)]
    return Verified(text, tuple(check(claims, cited, given, opened.names)))


def _of_run(run: Path | None, opened: OpenedCard, store: Store) -> Iterator[Known]:
    """What a run measured, as its cards rest on it; of one without cards, what lies there.

    It is what the card reports, unless the card's own record is of other items.
    """
    if run is None:
        return
    if not (run / PLAN).is_file():
        raise CardError(f"{run} is not a run: it has no {PLAN}", "runs lie under runs/")
    has_cards = (RunDir(run).folder(carding.NAME) / carding.FAMILY).is_file()
    asked = {_of_what(one): one.source.get("data") for one in store.records.values()}
    for family in families_of([run]) if has_cards else _without_cards(RunDir(run), opened):
        records = list(records_of(family))
        for is_own in (True, False):
            alike = [one for one in records if is_own == _is_asked_alike(one, asked)]
            yield from known_of(alike, f"run {run}", is_own=is_own)


def _of_what(record: ScoreRecord) -> tuple[str, ...]:
    return model_key(record.model), record.benchmark, record.score.task, record.score.metric


def _is_asked_alike(record: ScoreRecord, asked: Mapping[tuple[str, ...], Any]) -> bool:
    data = record.source.get("data")
    return bool(asked.get(_of_what(record), data) == data)


def _without_cards(run: RunDir, opened: OpenedCard) -> Iterator[Family]:
    """A family of each measured checkpoint; the only one is the model of the card.

    Raises:
        CardError: nothing is measured yet.
    """
    folders = [run.folder(step) for step in run.finished()]
    found = [evaluation.read_result(one) for one in folders if (one / evaluation.RESULT).is_file()]
    if not found:
        raise CardError(f"{run.path} has measured nothing yet", "evalkit evaluate makes such runs")
    recipe = read_recipe(run.path / RECIPE).recipe
    names = dict.fromkeys(result.checkpoint for result in found)
    for name in names:
        title = opened.card.title if len(names) == 1 else known_as(recipe, name)
        results = [result for result in found if result.checkpoint == name]
        yield remeasuring.family_of(title, results, as_data(recipe))


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
