"""What a training iteration takes over from the one before it in its stage.

Always the checkpoint; where settings ask for it an adapter, or the optimizer's state.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import Problem, RecipeError
from evalkit.loading import without_weights
from evalkit.pipeline.layout import IterationSlot, slot_of, stage_of
from evalkit.recipe import Recipe
from evalkit.stages import Stage
from evalkit.training_settings import TrainingSettings


class Succession(NamedTuple):
    """By name, what one iteration starts from.

    start: the checkpoint whose weights it loads.
    adapter: the iteration whose adapter goes on training around them, and is the reference.
    optimizer: the iteration whose optimizer's state is gone on with.
    """

    start: str
    adapter: str | None = None
    optimizer: str | None = None


def succession(recipe: Recipe, slot: IterationSlot) -> Succession:
    """What an iteration starts from; the first of a stage only from its parent.

    An adapter that goes on training stays around the weights that its first iteration started
    from: its parent checkpoint has it merged already.
    """
    if not slot.earlier:
        return Succession(slot.parent)
    before = slot_of(recipe, slot.earlier[-1])
    training = stage_of(recipe, slot).training
    goes_on = _adapter_goes_on(stage_of(recipe, before).training, training)
    return Succession(
        start=succession(recipe, before).start if goes_on else slot.parent,
        adapter=before.name if goes_on else None,
        optimizer=before.name if training.optimizer_state == "kept" else None,
    )


def _adapter_goes_on(before: TrainingSettings, now: TrainingSettings) -> bool:
    both = before.adapter is not None and now.adapter is not None
    return both and now.adapter is not None and now.adapter.previous == "frozen"


def problems(stage: Stage) -> Iterator[Problem]:
    """What an iteration of a stage cannot take over from the one before, and what it lacks."""
    settings = [stage.of_iteration(number).training for number in range(stage.iterations)]
    yield from _missing_packages(settings)
    for number in range(1, stage.iterations):
        for what, hint in _breaks(settings[number - 1], settings[number]):
            text = f"iteration {number + 1} cannot go on from iteration {number}: {what}"
            yield Problem("per_iteration", text, hint)


def _missing_packages(settings: list[TrainingSettings]) -> Iterator[Problem]:
    adapters = [one for one in settings if one.adapter is not None]
    quantized = [one for one in adapters if one.base_precision == "nf4"]
    needs = (("peft", "train", adapters), ("bitsandbytes", "qlora", quantized))
    for package, extra, users in needs:
        if users and find_spec(package) is None:
            text = f"the Python package '{package}' is not installed"
            yield Problem("training.adapter", text, f"pip install 'evalkit[{extra}]'", True)


def _breaks(before: TrainingSettings, now: TrainingSettings) -> Iterator[tuple[str, str]]:
    if _adapter_goes_on(before, now):
        for name in ("rank", "alpha", "target_modules"):
            old, new = getattr(before.adapter, name), getattr(now.adapter, name)
            if old != new:
                yield (
                    f"its adapter has {name} {old}, not {new}",
                    f"leave adapter.{name} as it is, or use adapter.previous: merged",
                )
    if now.optimizer_state == "fresh":
        return
    fresh = "make training.optimizer_state fresh in it"
    if before.optimizer_state != "kept":
        yield "that one does not keep its optimizer's state", f"{fresh}, or kept in both"
    elif before.optimizer != now.optimizer:
        yield f"its optimizer is {before.optimizer}, not {now.optimizer}", fresh
    elif (before.adapter is None) != (now.adapter is None):
        yield "only one of them trains an adapter", fresh


def model_problems(recipe: Recipe, folder: str | Path) -> list[Problem]:
    """What training settings ask of the model in a folder and it cannot do; reads no weights.

    These are layers to adapt that it does not have, and layouts that are not exact for it.
    """
    asked = {
        (number, stage.of_iteration(position).training)
        for number, stage in enumerate(recipe.stages)
        for position in range(stage.iterations)
    }
    asked = {one for one in asked if one[1].adapter is not None or one[1].layout != "auto"}
    if not asked or find_spec("torch") is None:
        return []
    try:
        model = without_weights(folder)
    except RecipeError:
        return []  # told as a problem of the base
    found = {problem for one in asked for problem in _unlike(model, *one)}
    return sorted(found)


def _unlike(model: Any, stage: int, settings: TrainingSettings) -> Iterator[Problem]:
    from evalkit.scoring.choice import refuse_inexact
    from evalkit.trainers.adapters import targets

    try:
        if settings.layout != "auto":
            refuse_inexact(model, settings.layout)
    except RecipeError as error:
        yield Problem.of(f"stages.{stage}.training.layout", error)
    try:
        if settings.adapter is not None:
            targets(model, settings.adapter)
    except RecipeError as error:
        yield Problem.of(f"stages.{stage}.training.adapter.target_modules", error)
