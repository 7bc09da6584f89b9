"""Steps `CHECKPOINT-SCHEME`: quantized variants of the last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.errors import RecipeError
from evalkit.loading import config_of, weights_digest
from evalkit.pipeline import conversations, plugins
from evalkit.pipeline.checkpoints import FOLDER, checkpoint_of, release
from evalkit.pipeline.layout import final_checkpoint, step_of, variant_name
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe
from evalkit.roles import PluginRef


def step(recipe: Recipe, ref: PluginRef) -> Step:
    """The step that makes one variant of the last checkpoint."""
    parent = final_checkpoint(recipe)
    scheme = plugins.make("schemes", ref)
    needs = [step_of(recipe, parent)]
    settings: dict[str, Any] = {"scheme": plugins.settings("schemes", ref)}
    if scheme.calibrated:
        settings |= conversations.settings(recipe)
        needs += conversations.needs(recipe, parent)
    return Step(
        name=variant_name(parent, ref.key),
        kind="quantize",
        title=f"make the {scheme.label} variant of {parent}",
        settings=settings,
        needs=tuple(needs),
        work=lambda context: _quantize(context, ref, parent),
        version=2,  # some conversations are held out
    )


def _quantize(context: StepContext, ref: PluginRef, parent: str) -> Mapping[str, Any]:
    scheme = plugins.make("schemes", ref)
    checkpoint = checkpoint_of(context, parent)
    problems = scheme.check_model(config_of(checkpoint.path))
    if problems:
        raise RecipeError(f"{parent} cannot be quantized with {ref.name}", problems=problems)
    calibration: list[list[int]] = []
    left_out = 0
    if scheme.calibrated:
        every = conversations.conversations(context, parent)
        kept = conversations.without_items(context, parent, every)
        left_out = len(every) - len(kept)
        calibration = list(conversations.for_calibration(kept))
    release()  # the scheme loads its own copy
    folder = context.empty_folder(FOLDER)
    facts = scheme.quantize(checkpoint, calibration, folder)
    return {
        "digest": weights_digest(folder),
        "precision": ref.key,
        "parent": parent,
        "calibration_samples": facts["calibration_samples"],
        "calibration_left_out": left_out,
    }
