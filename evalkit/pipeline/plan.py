"""Turns a recipe into its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from evalkit.pipeline import (
    base,
    carding,
    comparison,
    contamination,
    evaluation,
    gating,
    head_to_head,
    judging,
    publishing,
    recovery,
    responses,
    training,
    variants,
)
from evalkit.pipeline.layout import (
    BASE,
    checkpoint_names,
    final_checkpoint,
    iterations,
    variant_name,
)
from evalkit.pipeline.step import Kind, Plan, Step
from evalkit.recipe import Recipe
from evalkit.roles import PluginRef

# What each command asks for; the steps that those need come along.
_TRAINED: tuple[Kind, ...] = ("base", "train")
_QUANTIZED: tuple[Kind, ...] = (*_TRAINED, "quantize")
_MEASURED: tuple[Kind, ...] = (*_QUANTIZED, "evaluate", "recovery", "contamination", "compare")
_PUBLISHED: tuple[Kind, ...] = (*_MEASURED, "card", "publish")
GOALS: dict[str, tuple[Kind, ...]] = {
    "train": _TRAINED,
    "quantize": _QUANTIZED,
    "evaluate": _MEASURED,
    "card": (*_MEASURED, "card"),
    "publish": _PUBLISHED,
    "train-and-publish": _PUBLISHED,
}


def make_plan(recipe: Recipe, goal: str = "train-and-publish") -> Plan:
    """The plan of a recipe, cut down to what a goal needs."""
    return Plan(recipe, tuple(_steps(recipe, GOALS[goal])))


def _steps(recipe: Recipe, kinds: tuple[Kind, ...]) -> Iterator[Step]:
    """The steps of a goal alone: making one may read data, which the others may not have yet."""
    measured = _measured(recipe, kinds)
    yield base.step(recipe)
    yield from _evaluations(recipe, BASE, measured)
    stopping: tuple[str, ...] = ()
    for slot in iterations(recipe):
        gathering = responses.step(recipe, slot)
        yield replace(gathering, after=stopping)
        if judging.is_needed(recipe, slot):
            yield judging.step(recipe, slot)
        yield training.step(recipe, slot)
        yield from head_to_head.steps(recipe, slot)
        yield from _evaluations(recipe, slot.name, measured)
        stopping = (gating.step_name(slot.name),) if gating.stops(recipe, slot) else ()
        is_measured = "evaluate" in kinds or gating.by_judges(recipe, slot)
        if stopping or (is_measured and gating.decides(recipe, slot)):
            yield gating.step(recipe, slot)
    if "quantize" in kinds:
        for variant in recipe.variants:
            yield replace(variants.step(recipe, variant), after=stopping)
            yield from _evaluations(
                recipe, variant_name(final_checkpoint(recipe), variant.key), measured
            )
            if "recovery" in kinds:
                yield recovery.step(recipe, variant)
    if "evaluate" in kinds:
        if recipe.evaluation.contamination is not None:
            yield contamination.step(recipe, recipe.evaluation.contamination)
        yield comparison.step(recipe)
    if "card" in kinds:
        yield carding.step(recipe)
    if "publish" in kinds and recipe.publish is not None:
        yield publishing.step(recipe)


def _measured(recipe: Recipe, kinds: tuple[Kind, ...]) -> dict[str, list[PluginRef]]:
    """The benchmarks of each checkpoint: all of them, or those that a gate waits for."""
    every = list(recipe.evaluation.benchmarks)
    if "evaluate" in kinds:
        return {name: every for name in checkpoint_names(recipe)}
    waited_for: dict[str, set[str]] = {}
    for slot in iterations(recipe):
        if gating.stops(recipe, slot):
            keys = {ref.key for ref in gating.deciding(recipe, slot)}
            for name in (slot.parent, slot.name):
                waited_for.setdefault(name, set()).update(keys)
    return {name: [ref for ref in every if ref.key in keys] for name, keys in waited_for.items()}


def _evaluations(
    recipe: Recipe, name: str, measured: Mapping[str, Sequence[PluginRef]]
) -> Iterator[Step]:
    for benchmark in measured.get(name, ()):
        yield evaluation.step(recipe, name, benchmark)
