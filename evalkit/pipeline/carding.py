"""Steps `cards` and `leaderboard`: what the family says of itself, made from its records alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit import __version__, card_schema, resources
from evalkit.cards import (
    CARD_FILE,
    RECOVERY_FILE,
    Book,
    build_family_page,
    build_files,
    can_draw,
    holds_own_words,
    is_sealed,
    licence_faults,
    rebuilt,
    records_of,
    results_folder,
)
from evalkit.durable import write_text
from evalkit.errors import EvalkitError, Problem
from evalkit.family import Family
from evalkit.fingerprint import fingerprint
from evalkit.loading import file_digest
from evalkit.pipeline import (
    comparison,
    contamination,
    evaluation,
    gating,
    head_to_head,
    lineage,
    recovery,
)
from evalkit.pipeline.family import gather, title
from evalkit.pipeline.layout import checkpoint_names, step_of
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe, as_data
from evalkit.records import to_json
from evalkit.rundir import LINEAGE, RunDir, read_made
from evalkit.score_records import write_store
from evalkit.tables import export_leaderboard

NAME = "cards"
FAMILY = "family.json"
FAMILY_PAGE = "FAMILY.md"
LEADERBOARD = "leaderboard"
REPLACED_CARDS = "replaced-cards"  # beside the steps: a card may hold what only a person knows


def step(recipe: Recipe) -> Step:
    """The step that writes one card per checkpoint, and the family's leaderboard."""
    return Step(
        name=NAME,
        kind="card",
        title="write model cards and the leaderboard",
        settings={
            "recipe": as_data(recipe),
            "texts": resources.digest(),
            "evalkit": __version__,
            "figures": can_draw(),  # matplotlib is optional; once it is there, they are made
        },
        needs=(
            comparison.NAME,
            *((contamination.NAME,) if recipe.evaluation.contamination else ()),
            *(step_of(recipe, name) for name in checkpoint_names(recipe)),
            *gating.step_names(recipe),
            *recovery.step_names(recipe),
            *head_to_head.every_step_name(recipe),
        ),
        work=_write,
        expensive=False,
    )


def check(recipe: Recipe) -> Iterator[Problem]:
    """What can be seen to leave nothing to write a card of."""
    if not (recipe.base.is_ours or recipe.stages or recipe.variants):
        yield Problem(
            "model",
            "there is no card to write: this model is somebody else's, and nothing is made of it",
            "add a stage or a variant (--scheme); for your own model give its folder",
        )


def check_terms(recipe: Recipe) -> Iterator[Problem]:
    """What no card may say of licence and language, and what the base's licence forbids."""
    said = recipe.card.model_dump(include={"license", "license_name", "license_link", "language"})
    for fault in card_schema.validate({key: value for key, value in said.items() if value}):
        if fault.severity == "error":
            yield Problem(f"card.{fault.where}", fault.message, fault.fix)
    try:
        names = [title(recipe, name) for name in checkpoint_names(recipe)]
    except EvalkitError:
        return  # a scheme is wrong, and told where it stands
    yield from licence_faults(recipe.card.license, recipe.base.model, names)


def _write(context: StepContext) -> Mapping[str, Any]:
    family = gather(context)
    text = json.dumps(to_json(family), indent=1, sort_keys=True, ensure_ascii=False)
    (context.folder / FAMILY).write_text(text + "\n", encoding="utf-8")
    cards, beside, cited = {}, {}, {}
    records = tuple(records_of(family))
    origins = lineage.manifest(context.recipe, context.run)
    written = [member for member in family.members if member.is_ours]
    for done, member in enumerate(written):
        context.progress(done, len(written))
        name, folder = member.checkpoint.name, context.folder / member.title
        book = Book(records)
        before = _before(context.run, name, member.title)
        overwrite = context.options.replace
        files = build_files(family, member, book=book, before=before, overwrite=overwrite)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
            beside[f"{name}/{path}"] = file_digest(folder / path)
        _copy_results(context, name, folder)
        write_store(folder, book.records, book.citations)
        cards[name] = beside.pop(f"{name}/{CARD_FILE}")
        cited[name] = fingerprint(book.citations)
        line = lineage.of_line(origins, member.checkpoint.name)
        write_text(folder / LINEAGE, lineage.as_text(line))
    page = context.folder / FAMILY_PAGE
    page.write_text(_family_page(context, family), encoding="utf-8")
    tables = export_leaderboard([family], context.folder / LEADERBOARD)
    written_files = {
        "family": file_digest(context.folder / FAMILY),
        "page": file_digest(page),
        "cards": cards,
        "records": cited,
        "beside": beside,
        "lineage": fingerprint(origins),
        "tables": {file.name: file_digest(file) for file in tables},
    }
    return {"digest": fingerprint(written_files), **written_files}


def _copy_results(context: StepContext, name: str, folder: Path) -> None:
    """The results that a card links to, where its repository will have them."""
    for ref in context.recipe.evaluation.benchmarks:
        step_name = evaluation.step_name(name, ref)
        told = contamination.result_folder(context.run, context.recipe, step_name)
        target = folder / results_folder(ref.key)
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(told / evaluation.RESULT, target / evaluation.RESULT)
    found = context.run.folder(recovery.step_name(name)) / recovery.FILE
    if found.is_file():
        (folder / RECOVERY_FILE).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, folder / RECOVERY_FILE)


def _family_page(context: StepContext, family: Family) -> str:
    """The page of the whole family, with what a person wrote into the one before."""
    text, before = build_family_page(family), context.run.folder(NAME) / FAMILY_PAGE
    if not before.is_file():
        before = _kept(context.run, before.stem)
    if not before.is_file():
        return text
    return rebuilt(text, before.read_text("utf-8"), context.options.replace)


def keep_cards(run: RunDir) -> None:
    """Copies the cards that a person wrote into aside, before their step is forgotten.

    What was written goes over into those that replace them.
    """
    folder = run.folder(NAME)
    found = {card.parent.name: card for card in sorted(folder.glob(f"*/{CARD_FILE}"))}
    found |= {page.stem: page for page in folder.glob(FAMILY_PAGE)}
    for name, card in found.items():
        text = card.read_text("utf-8")
        if holds_own_words(text):
            write_text(_kept(run, name), text)


def _kept(run: RunDir, title: str) -> Path:
    return run.path / REPLACED_CARDS / f"{title}.md"


def _before(run: RunDir, name: str, title: str) -> str | None:
    """The card that is to be replaced; None where there is none, or nobody touched it."""
    card = run.folder(NAME) / title / CARD_FILE
    file = card if card.is_file() else _kept(run, title)
    if not file.is_file():
        return None
    text = file.read_text("utf-8")
    receipt = run.receipt(NAME)
    written = receipt.result.get("cards", {}).get(name) if receipt else None
    untouched = file_digest(file) == written
    return text if is_sealed(text) or not untouched else None


def read_family(folder: Path) -> Family:
    """The family of a finished `cards` step."""
    return read_made(Family, folder / FAMILY)
