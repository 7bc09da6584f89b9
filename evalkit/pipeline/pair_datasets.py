"""Preference pairs that iterations were trained on, as datasets beside the family's models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.cards import CARD_FILE, PairsFacts, build_dataset_card
from evalkit.family import Family
from evalkit.hub.plan import ReleasePlan, plan_release
from evalkit.loading import file_digest
from evalkit.pipeline import judging, plugins, responses
from evalkit.pipeline.family import repo_id
from evalkit.pipeline.groups import read_groups
from evalkit.pipeline.layout import IterationSlot, iterations, stage_of
from evalkit.pipeline.step import StepContext
from evalkit.preferences import sampled
from evalkit.recipe import Recipe
from evalkit.records import PromptGroup

SUFFIX = "pairs"
_FILE = "data/train.jsonl"


def dataset_ids(recipe: Recipe) -> list[str]:
    """The datasets that publishing the recipe's family makes or updates."""
    if recipe.publish is None or not recipe.publish.datasets:
        return []
    return [_dataset_id(recipe, slot) for slot in _with_pairs(recipe)]


def release_plans(context: StepContext, family: Family) -> list[ReleasePlan]:
    """A plan for each iteration's pairs, staged in `context.folder`."""
    plans = []
    for slot in _with_pairs(context.recipe):
        name = _dataset_id(context.recipe, slot)
        folder = context.folder / "staged" / name.rpartition("/")[2]
        shutil.rmtree(folder, ignore_errors=True)
        _write(context, family, slot, folder)
        plans.append(
            plan_release(
                folder,
                name,
                checkpoint=f"{slot.name}-{SUFFIX}",
                kind="dataset",
                note=f"the pairs that iteration {slot.number} was trained on",
            )
        )
    return plans


def pairs(groups: Sequence[PromptGroup]) -> Iterator[dict[str, Any]]:
    """Rows of a preference dataset, in TRL's conversational format.

    Of judged responses the one that is likeliest to win against the policy, and the least likely;
    of others the data's own response against each of the policy's. Groups without two different
    responses give none.
    Source: https://huggingface.co/docs/trl/dataset_formats#preference
    """
    for group in groups:
        own = sampled(group)
        given = [one for one in group.responses if one.finish_reason == "gold"]
        if group.win_probs is not None and own:
            order = sorted(range(len(own)), key=lambda number: group.win_probs[number])  # type: ignore[index]
            best, worst = order[-1], order[0]
            scores = {
                "chosen_win_probability": group.win_probs[best],
                "rejected_win_probability": group.win_probs[worst],
            }
            found = [(own[best].text, own[worst].text, scores)]
        else:
            found = [(real.text, one.text, {}) for real in given[:1] for one in own]
        prompt = [{"role": m.role, "content": m.content} for m in group.prompt.messages]
        for chosen, rejected, scores in found:
            if chosen != rejected:
                yield {
                    "id": group.prompt.id,
                    "prompt": prompt,
                    "chosen": [{"role": "assistant", "content": chosen}],
                    "rejected": [{"role": "assistant", "content": rejected}],
                    **scores,
                }


def _with_pairs(recipe: Recipe) -> list[IterationSlot]:
    """The iterations that play against themselves: what others are trained on is others' data."""
    return [slot for slot in iterations(recipe) if _needs(recipe, slot).samples]


def _needs(recipe: Recipe, slot: IterationSlot) -> Any:
    return plugins.make("methods", stage_of(recipe, slot).method).needs()


def _dataset_id(recipe: Recipe, slot: IterationSlot) -> str:
    return f"{repo_id(recipe, slot.name)}-{SUFFIX}"


def _write(context: StepContext, family: Family, slot: IterationSlot, folder: Path) -> None:
    judged = _needs(context.recipe, slot).judge
    step = judging.step_name(slot.name) if judged else responses.step_name(slot.name)
    groups = read_groups(context.run.folder(step))
    rows = list(pairs(groups))
    file = folder / _FILE
    file.parent.mkdir(parents=True)
    with file.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    dataset_id = _dataset_id(context.recipe, slot)
    facts = PairsFacts(_FILE, len(rows), len(groups), file_digest(file), dataset_id)
    card = build_dataset_card(family, family.member(slot.name), facts)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
