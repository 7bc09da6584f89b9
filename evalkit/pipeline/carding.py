"""Steps `cards` and `leaderboard`: what the family says of itself, made from its records alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit import __version__, resources
from evalkit.cards import build_card, build_figures, can_draw
from evalkit.durable import write_text
from evalkit.errors import Problem
from evalkit.family import Family
from evalkit.fingerprint import fingerprint
from evalkit.loading import file_digest
from evalkit.pipeline import comparison, contamination, gating, head_to_head, lineage
from evalkit.pipeline.family import gather
from evalkit.pipeline.layout import checkpoint_names, step_of
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe, as_data
from evalkit.records import to_json
from evalkit.rundir import LINEAGE, read_made
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
            "figures": can_draw(),  # matplotlib is optional; once it is there, they are made
        },
        needs=(
            comparison.NAME,
            *((contamination.NAME,) if recipe.evaluation.contamination else ()),
            *(step_of(recipe, name) for name in checkpoint_names(recipe)),
            *gating.step_names(recipe),
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


def _write(context: StepContext) -> Mapping[str, Any]:
    family = gather(context)
    text = json.dumps(to_json(family), indent=1, sort_keys=True, ensure_ascii=False)
    (context.folder / FAMILY).write_text(text + "\n", encoding="utf-8")
    cards, figures = {}, {}
    origins = lineage.manifest(context.recipe, context.run)
    written = [member for member in family.members if member.is_ours]
    for done, member in enumerate(written):
        context.progress(done, len(written))
        folder = context.folder / member.title
        folder.mkdir(exist_ok=True)
        file = folder / CARD_FILE
        file.write_text(build_card(family, member, pictured=can_draw()), encoding="utf-8")
        cards[member.checkpoint.name] = file_digest(file)
        for name, content in (build_figures(family, member) if can_draw() else {}).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
            figures[f"{member.checkpoint.name}/{name}"] = file_digest(folder / name)
        line = lineage.of_line(origins, member.checkpoint.name)
        write_text(folder / LINEAGE, lineage.as_text(line))
    tables = export_leaderboard([family], context.folder / LEADERBOARD)
    written_files = {
        "family": file_digest(context.folder / FAMILY),
        "cards": cards,
        "figures": figures,
        "lineage": fingerprint(origins),
        "tables": {file.name: file_digest(file) for file in tables},
    }
    return {"digest": fingerprint(written_files), **written_files}


def read_family(folder: Path) -> Family:
    """The family of a finished `cards` step."""
    return read_made(Family, folder / FAMILY)
