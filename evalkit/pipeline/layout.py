"""Which checkpoints a recipe makes, in which order, under which names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evalkit.recipe import Recipe
from evalkit.registry import load
from evalkit.stages import Stage

BASE = "base"


@dataclass(frozen=True)
class IterationSlot:
    """One iteration of one stage.

    number: position among all iterations of the family, from 1.
    position: position within its stage, from 0.
    name, parent: checkpoint names.
    earlier: the iterations before it in its stage, oldest first.
    """

    stage_index: int
    position: int
    number: int
    name: str
    parent: str
    earlier: tuple[str, ...] = ()


def iterations(recipe: Recipe) -> list[IterationSlot]:
    """All training iterations in order: `iter1`, `iter2`... of self-play, else named by method."""
    slots: list[IterationSlot] = []
    self_play = 0
    for index, stage in enumerate(recipe.stages):
        earlier: tuple[str, ...] = ()
        for position in range(stage.iterations):
            if stage.iterations > 1 or _plays_itself(stage):
                self_play += 1
                name = f"iter{self_play}"
            else:
                name = _unused(stage.method.key, {slot.name for slot in slots})
            parent = slots[-1].name if slots else BASE
            slots.append(IterationSlot(index, position, len(slots) + 1, name, parent, earlier))
            earlier = (*earlier, name)
    return slots


def stage_of(recipe: Recipe, slot: IterationSlot) -> Stage:
    """The stage of an iteration, with what is different in this iteration."""
    return recipe.stages[slot.stage_index].of_iteration(slot.position)


def slot_of(recipe: Recipe, name: str) -> IterationSlot:
    """The iteration of that name; KeyError if there is none."""
    return {slot.name: slot for slot in iterations(recipe)}[name]


def final_checkpoint(recipe: Recipe) -> str:
    """Name of the checkpoint that the variants are made of."""
    slots = iterations(recipe)
    return slots[-1].name if slots else BASE


def variant_name(parent: str, scheme: str) -> str:
    """Checkpoint name of a quantized variant."""
    return f"{parent}-{scheme}"


def checkpoint_names(recipe: Recipe) -> list[str]:
    """Every checkpoint of the family: base, iterations, variants of the last."""
    last = final_checkpoint(recipe)
    trained = [slot.name for slot in iterations(recipe)]
    return [BASE, *trained, *(variant_name(last, ref.key) for ref in recipe.variants)]


def step_of(recipe: Recipe, checkpoint: str) -> str:
    """The step that makes a checkpoint."""
    trained = {slot.name for slot in iterations(recipe)}
    return f"{checkpoint}-train" if checkpoint in trained else checkpoint


def _plays_itself(stage: Stage) -> bool:
    plugin = load("methods", stage.method.name)
    return bool(plugin.self_play)


def _unused(name: str, taken: set[str]) -> str:
    return next(candidate for candidate in _numbered(name) if candidate not in taken)


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}{number}"
        number += 1
