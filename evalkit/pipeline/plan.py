"""Turns a recipe into its steps."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.pipeline import (
    base,
    carding,
    comparison,
    evaluation,
    judging,
    publishing,
    responses,
    training,
    variants,
)
from evalkit.pipeline.layout import checkpoint_names, iterations
from evalkit.pipeline.step import Kind, Plan, Step
from evalkit.recipe import Recipe

# What each command asks for; the steps that those need come along.
_TRAINED: tuple[Kind, ...] = ("base", "train")
_QUANTIZED: tuple[Kind, ...] = (*_TRAINED, "quantize")
_MEASURED: tuple[Kind, ...] = (*_QUANTIZED, "evaluate", "compare")
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
    yield base.step(recipe)
    for slot in iterations(recipe):
        yield responses.step(recipe, slot)
        if judging.is_needed(recipe, slot):
            yield judging.step(recipe, slot)
        yield training.step(recipe, slot)
    if "quantize" in kinds:
        for variant in recipe.variants:
            yield variants.step(recipe, variant)
    if "evaluate" in kinds:
        for name in checkpoint_names(recipe):
            for benchmark in recipe.evaluation.benchmarks:
                yield evaluation.step(recipe, name, benchmark)
        yield comparison.step(recipe)
    if "card" in kinds:
        yield carding.step(recipe)
    if "publish" in kinds and recipe.publish is not None:
        yield publishing.step(recipe)
