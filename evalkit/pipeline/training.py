"""Step `ITERATION-train`: a checkpoint trained into the next one by the stage's method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.fingerprint import derive_seed
from evalkit.loading import config_of, stored_dtype, weights_digest
from evalkit.pipeline import judging, plugins
from evalkit.pipeline.checkpoints import FOLDER, checkpoint_of, release
from evalkit.pipeline.groups import read_groups
from evalkit.pipeline.layout import IterationSlot, iterations, step_of
from evalkit.pipeline.responses import step_name as responses_step
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe, Stage, as_data
from evalkit.records import PromptGroup, TrainingExample
from evalkit.roles import Method

METRICS = "metrics.jsonl"


def step(recipe: Recipe, slot: IterationSlot) -> Step:
    """The step that trains one iteration."""
    stage = recipe.stages[slot.stage_index]
    groups = [_groups_step(recipe, name) for name in (slot.name, slot.before) if name]
    return Step(
        name=step_of(recipe, slot.name),
        kind="train",
        title=f"train {slot.parent} into {slot.name} ({stage.method.name})",
        settings={
            "method": plugins.settings("methods", stage.method),
            "training": as_data(stage.training),
            "seed": derive_seed(recipe.seed, slot.name, "train"),
        },
        needs=(step_of(recipe, slot.parent), *groups),
        work=lambda context: _train(context, stage, slot),
    )


def _groups_step(recipe: Recipe, slot_name: str) -> str:
    """The step that holds an iteration's groups in their final form."""
    slot = next(slot for slot in iterations(recipe) if slot.name == slot_name)
    judged = judging.is_needed(recipe, slot)
    return judging.step_name(slot_name) if judged else responses_step(slot_name)


def _train(context: StepContext, stage: Stage, slot: IterationSlot) -> Mapping[str, Any]:
    method: Method = plugins.make("methods", stage.method)
    groups = _groups(context, slot.name)
    earlier = _groups(context, slot.before) if slot.before else []
    made = method.examples(groups, earlier)
    if not made.examples:
        raise RecipeError(
            f"{slot.name}: every prompt was dropped: {made.dropped}",
            "the judge finds no difference between responses, or they equal the gold ones",
        )
    facts = _trained(context, stage, slot, method, made.examples)
    folder = context.folder / FOLDER
    return {
        "digest": weights_digest(folder),
        "precision": stored_dtype(config_of(folder)),
        "parent": slot.parent,
        "examples": facts.pop("examples"),
        "dropped": dict(sorted(made.dropped.items())),
        "facts": facts,
        **_judging_facts(context, slot),
    }


def _trained(
    context: StepContext,
    stage: Stage,
    slot: IterationSlot,
    method: Method,
    examples: Sequence[TrainingExample],
) -> dict[str, Any]:
    """Trains into the step's folder, going on from an attempt before; the trainer's summary."""
    from evalkit.trainers.training import train

    start = checkpoint_of(context, slot.parent)
    release()  # the trainer holds its own copy
    folder = context.empty_folder(FOLDER)
    trained = train(
        method,
        examples,
        Path(start.path),
        stage.training,
        folder,
        derive_seed(context.recipe.seed, slot.name, "train"),
        context.progress,
        context.scratch / "work",
    )
    (folder / METRICS).replace(context.folder / METRICS)
    return trained.to_json()


def _groups(context: StepContext, slot_name: str) -> list[PromptGroup]:
    return read_groups(context.run.folder(_groups_step(context.recipe, slot_name)))


def _judging_facts(context: StepContext, slot: IterationSlot) -> dict[str, Any]:
    if not judging.is_needed(context.recipe, slot):
        return {}
    judged = context.result(judging.step_name(slot.name))
    return {"judge": judged["judge"], "judging": judged["stats"]}
