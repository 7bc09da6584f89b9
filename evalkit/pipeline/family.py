"""Gathers the family from the receipts of its steps: the one thing that cards and tables read."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit import registry
from evalkit.baselines import rows_of
from evalkit.cards import drawn_points
from evalkit.checkpoint_size import checkpoint_bytes, linear_bytes, parameters
from evalkit.family import (
    Family,
    GateFacts,
    Member,
    MemberKind,
    ModelFacts,
    TrainingFacts,
    VariantFacts,
)
from evalkit.loading import config_of
from evalkit.pipeline import contamination, evaluation, gating, head_to_head, plugins, recovery
from evalkit.pipeline.checkpoints import METRICS, checkpoint_of
from evalkit.pipeline.comparison import NAME as COMPARE
from evalkit.pipeline.comparison import read_comparisons
from evalkit.pipeline.layout import (
    BASE,
    IterationSlot,
    checkpoint_names,
    final_checkpoint,
    iterations,
    stage_of,
    step_of,
    variant_name,
)
from evalkit.pipeline.responses import step_name as responses_step
from evalkit.pipeline.step import StepContext
from evalkit.pipeline.versions import merged
from evalkit.recipe import Recipe, as_data
from evalkit.records import Checkpoint, ResultSet
from evalkit.roles import PluginRef

_UNTOLD = ("digest", "versions")


def gather(context: StepContext) -> Family:
    """The family of a run whose training, variants and measurements are finished."""
    recipe = context.recipe
    comparisons = read_comparisons(context.run.folder(COMPARE))
    return Family(
        name=recipe.name,
        members=tuple(_members(context)),
        comparisons=tuple(comparisons),
        card=as_data(recipe.card),
        recipe=as_data(recipe),
        base_source=context.result(BASE).get("source"),
        versions=_versions(context),
        published=recipe.publish is not None,
        baselines=rows_of(recipe.evaluation.baselines),
    )


def title(recipe: Recipe, name: str) -> str:
    """A checkpoint's name for people, also that of its repository: `Pocket-SPPO-Iter2-W4A16`.

    Where nothing is trained, the base is the model that the recipe is named after.
    """
    last = final_checkpoint(recipe)
    if name == BASE == last:
        return recipe.name
    for ref in recipe.variants:
        if name == variant_name(last, ref.key):
            suffix = registry.load("schemes", ref.name).suffix
            return f"{title(recipe, last)}-{suffix}"
    by_number = name == BASE or re.fullmatch(r"iter\d+", name)
    return f"{recipe.name}-{name.capitalize() if by_number else name.upper()}"


def known_as(recipe: Recipe, name: str) -> str:
    """What others know a checkpoint as: its title; a found base's id, or its folder's name."""
    model = recipe.base.model
    if name != BASE or model is None:
        return title(recipe, name)
    return Path(model).name if Path(model).is_dir() else model


def repo_id(recipe: Recipe, name: str) -> str | None:
    """The repository a checkpoint goes to; None for a base that is somebody else's."""
    if recipe.publish is None or (name == BASE and not recipe.base.is_ours):
        return None
    return f"{recipe.publish.namespace}/{title(recipe, name)}"


def _versions(context: StepContext) -> dict[str, str]:
    recipe = context.recipe
    names = checkpoint_names(recipe)
    steps = [step_of(recipe, name) for name in names]
    steps += [responses_step(slot.name) for slot in iterations(recipe)]
    steps += [
        evaluation.step_name(name, ref) for name in names for ref in recipe.evaluation.benchmarks
    ]
    return merged(context.result(step).get("versions", {}) for step in steps)


def _members(context: StepContext) -> list[Member]:
    recipe = context.recipe
    base = _member(context, BASE, "base", built=_built(context), own=recipe.base.own)
    slots = iterations(recipe)
    trained = [
        _member(
            context,
            slot.name,
            "iteration",
            iteration=slot.number,
            training=_training(context, slot),
            gate=_gate(context, slot),
            superseded_by=slots[-1].name if slot is not slots[-1] else None,
        )
        for slot in slots
    ]
    last = final_checkpoint(recipe)
    variants = [
        _member(context, variant_name(last, ref.key), "variant", variant=_variant(context, ref))
        for ref in recipe.variants
    ]
    return [base, *trained, *variants]


def _member(context: StepContext, name: str, kind: MemberKind, **details: Any) -> Member:
    checkpoint = checkpoint_of(context, name)
    source = context.result(BASE).get("source")
    foreign = name == BASE and not context.recipe.base.is_ours
    return Member(
        checkpoint=_without_path(checkpoint),
        kind=kind,
        title=Path(str(source)).name if foreign else title(context.recipe, name),
        repo_id=repo_id(context.recipe, name),
        model=_model_facts(Path(checkpoint.path)),
        results=_results(context, name),
        **details,
    )


def _without_path(checkpoint: Checkpoint) -> Checkpoint:
    """The same without its place on this machine, which no card may quote."""
    return dataclasses.replace(checkpoint, path="")


def _model_facts(folder: Path) -> ModelFacts:
    config = config_of(folder)
    return ModelFacts(
        architecture=(config.get("architectures") or ["unknown"])[0],
        parameters=parameters(folder),
        context_length=int(config.get("max_position_embeddings") or 0),
        size_bytes=checkpoint_bytes(folder),
        linear_bytes=linear_bytes(folder),
    )


def _results(context: StepContext, name: str) -> tuple[ResultSet, ...]:
    steps = [evaluation.step_name(name, ref) for ref in context.recipe.evaluation.benchmarks]
    return tuple(
        evaluation.read_result(contamination.result_folder(context.run, context.recipe, step))
        for step in steps
    )


def _built(context: StepContext) -> str:
    description: Mapping[str, str] = context.result(BASE).get("description", {})
    return description.get("how", "")


def _training(context: StepContext, slot: IterationSlot) -> TrainingFacts:
    stage = stage_of(context.recipe, slot)
    gathered = context.result(responses_step(slot.name))
    trained = context.result(step_of(context.recipe, slot.name))
    needs = plugins.make("methods", stage.method).needs()
    sampled = {
        key: gathered[key]
        for key in ("responses", "mean_response_tokens", "unfinished", "duplicate_responses")
        if key in gathered
    }
    counts = {key: value for key, value in trained["facts"].items() if key != "metrics"}
    facts = {
        "sampling": sampled,
        "judging": trained.get("judging", {}),
        "training": {**counts, "last step": trained["facts"]["metrics"]},
        **_against_parent(context, slot),
    }
    return TrainingFacts(
        method=stage.method.key,
        options=plugins.settings("methods", stage.method)["options"],
        settings=as_data(stage.training),
        data=gathered["source"],
        prompts=gathered["prompts"],
        examples=trained["examples"],
        sampling=as_data(stage.sampling) if needs.samples else None,
        dropped=trained["dropped"],
        judge=trained.get("judge"),
        facts={name: found for name, found in facts.items() if found},
        curves=_curves(context.run.folder(step_of(context.recipe, slot.name))),
        trained_on=tuple(trained["trained_on"]),
    )


def _against_parent(context: StepContext, slot: IterationSlot) -> dict[str, Any]:
    """What judges said of the iteration beside the checkpoint that it started from."""
    names = head_to_head.step_names(context.recipe, slot)
    return {
        name.removeprefix(f"{slot.name}-").replace("-", " "): {
            key: value for key, value in context.result(name).items() if key not in _UNTOLD
        }
        for name in names
    }


def _gate(context: StepContext, slot: IterationSlot) -> GateFacts | None:
    if not gating.decides(context.recipe, slot):
        return None
    found = context.result(gating.step_name(slot.name))
    told = gating.gate_of(context.recipe, slot).action != "continue"
    return GateFacts(found["outcome"], len(found["comparisons"]), found["level"], told)


def _curves(trained: Path) -> dict[str, Any]:
    """The course of a finished training step's metrics, as its card draws it."""
    lines = (trained / METRICS).read_text("utf-8").splitlines()
    return drawn_points([json.loads(line) for line in lines])


def _variant(context: StepContext, ref: PluginRef) -> VariantFacts:
    scheme = plugins.make("schemes", ref)
    name = variant_name(final_checkpoint(context.recipe), ref.key)
    return VariantFacts(
        scheme=ref.key,
        label=scheme.label,
        bits=scheme.bits,
        tags=scheme.tags,
        options=scheme.options.model_dump(mode="json"),
        calibration_samples=context.result(name)["calibration_samples"],
        recovery=recovery.read_recovery(context.run.folder(recovery.step_name(name))),
    )
