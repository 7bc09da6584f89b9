"""Steps `cards` and `leaderboard`: what the family says of itself, made from its records alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit import __version__, resources
from evalkit.cards import build_card
from evalkit.errors import RecipeError
from evalkit.family import Family
from evalkit.fingerprint import fingerprint
from evalkit.loading import file_digest
from evalkit.pipeline import comparison
from evalkit.pipeline.family import gather
from evalkit.pipeline.layout import checkpoint_names, step_of
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe, as_data
from evalkit.records import from_json, to_json
from evalkit.rundir import RunDir
from evalkit.tables import export_leaderboard

NAME = "cards"
FAMILY = "family.json"
LEADERBOARD = "leaderboard"
CARD_FILE = "README.md"


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
        },
        needs=(
            comparison.NAME,
            *(step_of(recipe, name) for name in checkpoint_names(recipe)),
        ),
        work=_write,
        expensive=False,
    )


def _write(context: StepContext) -> Mapping[str, Any]:
    family = gather(context)
    text = json.dumps(to_json(family), indent=1, sort_keys=True, ensure_ascii=False)
    (context.folder / FAMILY).write_text(text + "\n", encoding="utf-8")
    cards = {}
    written = [m for m in family.members if m.kind != "base" or m.built]
    for done, member in enumerate(written):
        context.progress(done, len(written))
        folder = context.folder / member.title
        folder.mkdir(exist_ok=True)
        file = folder / CARD_FILE
        file.write_text(build_card(family, member), encoding="utf-8")
        cards[member.checkpoint.name] = file_digest(file)
    tables = export_leaderboard([family], context.folder / LEADERBOARD)
    written_files = {
        "family": file_digest(context.folder / FAMILY),
        "cards": cards,
        "tables": {file.name: file_digest(file) for file in tables},
    }
    return {"digest": fingerprint(written_files), **written_files}


def read_family(folder: Path) -> Family:
    """The family of a finished `cards` step."""
    return from_json(Family, json.loads((folder / FAMILY).read_text("utf-8")))


def export_runs(runs: Sequence[Path], out: Path, definition: str | None) -> list[Path]:
    """Writes one leaderboard over several finished runs; returns the files.

    Raises:
        RecipeError: a folder holds no family yet.
    """
    families = []
    for path in runs:
        folder = RunDir(path).folder(NAME)
        if not (folder / FAMILY).is_file():
            raise RecipeError(f"{path} has no cards yet", "finish it: evalkit card build RECIPE")
        families.append(read_family(folder))
    return export_leaderboard(families, out, definition)
