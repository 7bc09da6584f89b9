"""Step `ITERATION-train`: a checkpoint trained into the next one by the stage's method."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.console import is_rank_zero
from evalkit.errors import RecipeError
from evalkit.fingerprint import derive_seed
from evalkit.loading import config_of, stored_dtype, weights_digest
from evalkit.pipeline import judging, plugins, tracking
from evalkit.pipeline.checkpoints import FOLDER, METRICS, checkpoint_of, release
from evalkit.pipeline.family import known_as
from evalkit.pipeline.groups import read_groups
from evalkit.pipeline.layout import IterationSlot, slot_of, stage_of, step_of
from evalkit.pipeline.responses import step_name as responses_step
from evalkit.pipeline.step import Step, StepContext
from evalkit.pipeline.succession import Succession, succession
from evalkit.recipe import Recipe, as_data
from evalkit.records import PromptGroup, TrainingExample
from evalkit.roles import Method
from evalkit.stages import Stage
from evalkit.trainers import released
from evalkit.trainers.before import ADAPTER, OPTIMIZER, Before

# What helps where most prompts were dropped for a reason.
_MORE = "raise sampling.temperature, or the method's samples"
_HINTS = {
    "identical_responses": f"all responses to a prompt are the same: {_MORE}",
    "tied": f"the judge finds no response better than another: {_MORE}, or take another judge",
    "unjudged": "the judge gave no verdicts: check its model, its address or its limits",
    "equal_to_gold": "the model answers as the data does: there is nothing more to learn from it",
    "no_gold": "give prompts with responses",
    "no_rejected": "give prompts with chosen and rejected responses",
}


def step(recipe: Recipe, slot: IterationSlot) -> Step:
    """The step that trains one iteration."""
    stage = stage_of(recipe, slot)
    groups = [_groups_step(recipe, name) for name in trained_on(stage, slot)]
    weights = dict.fromkeys((slot.parent, succession(recipe, slot).start))
    return Step(
        name=step_of(recipe, slot.name),
        kind="train",
        title=f"train {slot.parent} into {slot.name} ({stage.method.name})",
        settings={
            "method": plugins.settings("methods", stage.method),
            "training": as_data(stage.training),
            "seed": derive_seed(recipe.seed, slot.name, "train"),
            **_compat_settings(stage),
        },
        needs=(*(step_of(recipe, name) for name in weights), *groups),
        work=lambda context: _train(context, stage, slot),
    )


def trained_on(stage: Stage, slot: IterationSlot) -> tuple[str, ...]:
    """The iterations whose groups an iteration is trained on, oldest first, itself last."""
    method: Method = plugins.make("methods", stage.method)
    earlier = {"none": (), "previous": slot.earlier[-1:], "all": slot.earlier}
    return (*earlier[method.needs().earlier], slot.name)


def _groups_step(recipe: Recipe, slot_name: str) -> str:
    """The step that holds an iteration's groups in their final form."""
    judged = judging.is_needed(recipe, slot_of(recipe, slot_name))
    return judging.step_name(slot_name) if judged else responses_step(slot_name)


def _train(context: StepContext, stage: Stage, slot: IterationSlot) -> Mapping[str, Any]:
    method: Method = plugins.make("methods", stage.method)
    groups = {name: _groups(context, name) for name in trained_on(stage, slot)}
    earlier = [group for name in slot.earlier for group in groups.get(name, ())]
    made = method.examples(groups[slot.name], earlier)
    if not made.examples:
        raise _nothing_to_train_on(slot.name, made.dropped)
    examples, cut = _cut_as_released(stage, made.examples)
    takes = succession(context.recipe, slot)
    facts = _trained(context, stage, slot, takes, method, examples)
    if not is_rank_zero():
        return {}
    folder = context.folder / FOLDER
    return {
        "digest": weights_digest(folder),
        "precision": stored_dtype(config_of(folder)),
        "parent": slot.parent,
        "reference": takes.start if method.needs().reference else None,
        **_start_facts(context, stage, takes),
        "trained_on": _mix(context, groups),
        "examples": facts.pop("examples"),
        "dropped": dict(sorted(made.dropped.items())),
        "facts": {**facts, **cut},
        **_judging_facts(context, slot),
    }


def _start_facts(context: StepContext, stage: Stage, takes: Succession) -> dict[str, Any]:
    """What training started from, and the loss was relative to: weights, their form, an adapter."""
    facts: dict[str, Any] = {"start": takes.start}
    if stage.training.adapter is not None:
        facts["base_precision"] = stage.training.base_precision
    folder = _before(context, takes).adapter
    if folder is not None:
        from evalkit.trainers.adapters import adapter_digest

        facts["adapter"] = {"iteration": takes.adapter, "digest": adapter_digest(folder)}
    return facts


def _nothing_to_train_on(name: str, dropped: Mapping[str, int]) -> RecipeError:
    told = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in dropped.items())
    most = max(dropped, key=dropped.__getitem__, default="")
    return RecipeError(f"{name}: every prompt was dropped: {told}", _HINTS.get(most, ""))


def _compat_settings(stage: Stage) -> dict[str, Any]:
    if stage.compat is None:
        return {}
    return {"compat": stage.compat, "max_prompt_length": stage.max_prompt_length}


def _cut_as_released(
    stage: Stage, examples: list[TrainingExample]
) -> tuple[list[TrainingExample], dict[str, int]]:
    """Examples cut as released code does it where the stage asks for that, and what it cut."""
    if stage.compat is None:
        return examples, {}
    assert stage.max_prompt_length is not None
    cut = released.cut(examples, stage.training.max_length, stage.max_prompt_length)
    return cut.examples, {"truncated": cut.responses, "prompts_cut": cut.prompts}


def _trained(
    context: StepContext,
    stage: Stage,
    slot: IterationSlot,
    takes: Succession,
    method: Method,
    examples: Sequence[TrainingExample],
) -> dict[str, Any]:
    """Trains into the step's folder, going on from an attempt before; the trainer's summary."""
    from evalkit.trainers.training import train

    start = checkpoint_of(context, takes.start)
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
        _before(context, takes),
        tracking.reports_of(context, step_of(context.recipe, slot.name)),
        context.run.cache(step_of(context.recipe, slot.name)),
    )
    if is_rank_zero():
        for name in (METRICS, ADAPTER, OPTIMIZER):
            _move(folder / name, context.folder / name)
    return trained.to_json()


def _before(context: StepContext, takes: Succession) -> Before:
    """What of earlier steps training goes on with, and the name of what it starts from."""

    def left(iteration: str | None, name: str) -> Path | None:
        if iteration is None:
            return None
        return context.run.folder(step_of(context.recipe, iteration)) / name

    return Before(
        adapter=left(takes.adapter, ADAPTER),
        optimizer=left(takes.optimizer, OPTIMIZER),
        start_name=known_as(context.recipe, takes.start),
    )


def _move(source: Path, target: Path) -> None:
    """Moves what training left, if it did, over what a cut-off attempt moved there."""
    if not source.exists():
        return
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)


def _groups(context: StepContext, slot_name: str) -> list[PromptGroup]:
    return read_groups(context.run.folder(_groups_step(context.recipe, slot_name)))


def _mix(context: StepContext, groups: Mapping[str, Sequence[PromptGroup]]) -> list[dict[str, Any]]:
    """Each iteration whose groups are trained on: how many prompts, and the groups' digest."""
    return [
        {
            "iteration": name,
            "prompts": len(found),
            "digest": context.result(_groups_step(context.recipe, name))["digest"],
        }
        for name, found in groups.items()
    ]


def _judging_facts(context: StepContext, slot: IterationSlot) -> dict[str, Any]:
    if not judging.is_needed(context.recipe, slot):
        return {}
    judged = context.result(judging.step_name(slot.name))
    return {"judge": judged["judge"], "judging": judged["stats"]}
