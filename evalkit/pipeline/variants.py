"""Steps `CHECKPOINT-SCHEME`: quantized variants of the last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit import rendering
from evalkit.errors import RecipeError
from evalkit.loading import config_of, weights_digest
from evalkit.pipeline import plugins
from evalkit.pipeline.checkpoints import FOLDER, checkpoint_of, release, tokenizer
from evalkit.pipeline.groups import read_groups
from evalkit.pipeline.layout import final_checkpoint, iterations, step_of, variant_name
from evalkit.pipeline.responses import step_name as responses_step
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe
from evalkit.records import Prompt, PromptGroup
from evalkit.roles import PluginRef


def step(recipe: Recipe, ref: PluginRef) -> Step:
    """The step that makes one variant of the last checkpoint."""
    parent = final_checkpoint(recipe)
    scheme = plugins.make("schemes", ref)
    needs = [step_of(recipe, parent)]
    settings: dict[str, Any] = {"scheme": plugins.settings("schemes", ref)}
    if scheme.calibrated and recipe.calibration is not None:
        settings["calibration"] = plugins.settings("sources", recipe.calibration)
        settings["calibration_digest"] = plugins.data_digest(recipe.calibration)
    elif scheme.calibrated and iterations(recipe):
        needs.append(responses_step(parent))
    return Step(
        name=variant_name(parent, ref.key),
        kind="quantize",
        title=f"make the {scheme.label} variant of {parent}",
        settings=settings,
        needs=tuple(needs),
        work=lambda context: _quantize(context, ref, parent),
    )


def _quantize(context: StepContext, ref: PluginRef, parent: str) -> Mapping[str, Any]:
    scheme = plugins.make("schemes", ref)
    checkpoint = checkpoint_of(context, parent)
    problems = scheme.check_model(config_of(checkpoint.path))
    if problems:
        raise RecipeError(f"{parent} cannot be quantized with {ref.name}", problems=problems)
    calibration: list[list[int]] = []
    if scheme.calibrated:
        calibration = _offered(context, parent)
    release()  # the scheme loads its own copy
    folder = context.empty_folder(FOLDER)
    facts = scheme.quantize(checkpoint, calibration, folder)
    return {
        "digest": weights_digest(folder),
        "precision": ref.key,
        "parent": parent,
        "calibration_samples": facts["calibration_samples"],
    }


def _offered(context: StepContext, parent: str) -> list[list[int]]:
    """Calibration data for the scheme to draw from: the recipe's own, else training prompts."""
    if context.recipe.calibration is not None:
        source = plugins.make("sources", context.recipe.calibration)
        own = tokenizer(checkpoint_of(context, parent))
        return [_rendered(own, prompt) for prompt in source.prompts()]
    groups = read_groups(context.run.folder(responses_step(parent)))
    return [_conversation(group) for group in groups]


def _rendered(tokenizer: Any, prompt: Prompt) -> list[int]:
    ids = list(rendering.prompt_token_ids(tokenizer, prompt.messages))
    if prompt.gold is not None:
        ids += rendering.response_token_ids(tokenizer, prompt.messages, prompt.gold)
    return ids


def _conversation(group: PromptGroup) -> list[int]:
    return [*group.prompt_token_ids, *group.responses[0].token_ids]
