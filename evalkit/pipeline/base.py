"""Step `base`: the checkpoint that everything starts from, built here, found or fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import Problem, RecipeError
from evalkit.fetching import fetch_model
from evalkit.loading import check_folder, config_of, quick_state, stored_dtype, weights_digest
from evalkit.pipeline import plugins, rendering_check, succession
from evalkit.pipeline.checkpoints import FOLDER
from evalkit.pipeline.layout import BASE
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Base, Recipe
from evalkit.roles import PluginRef
from evalkit.rundir import RunDir

EXAMPLE = "mistralai/Mistral-7B-v0.1"


def step(recipe: Recipe) -> Step:
    """The step that provides the base checkpoint."""
    if recipe.base.builder is not None:
        return _build_step(recipe.base.builder)
    return Step(
        name=BASE,
        kind="base",
        title=f"find {recipe.base.model}",
        settings={},  # its digest decides what follows, under whatever name it is found
        needs=(),
        work=lambda context: _find(context, recipe.base),
        holds=lambda run, options: _unchanged(run, recipe.base),
    )


def _build_step(builder: PluginRef) -> Step:
    return Step(
        name=BASE,
        kind="base",
        title=f"build a base model ({builder.name})",
        settings={"builder": plugins.settings("builders", builder)},
        needs=(),
        work=lambda context: _build(context, builder),
    )


def _build(context: StepContext, builder: PluginRef) -> Mapping[str, Any]:
    folder = context.empty_folder(FOLDER)
    maker = plugins.make("builders", builder)
    maker.build(folder, context.progress)
    return {**_facts(context.recipe, folder), "description": dict(maker.description())}


def _find(context: StepContext, base: Base) -> Mapping[str, Any]:
    assert base.model is not None
    where: dict[str, Any] = {"source": base.model, "asked": base.revision}
    if Path(base.model).is_dir():
        folder = Path(base.model).resolve()
    else:
        folder, where["revision"] = fetch_model(base.model, base.revision, "base.model", EXAMPLE)
        rendering_check.check_base(context.recipe, folder)
    return {
        **_facts(context.recipe, folder),
        "path": str(folder),
        "state": quick_state(folder),
        **where,
    }


def _unchanged(run: RunDir, base: Base) -> bool:
    """Whether the base that was found is the one that is named now, and holds what it held.

    Somebody may have trained in its folder.
    """
    receipt = run.receipt(BASE)
    assert receipt is not None
    found, folder = receipt.result, Path(receipt.result["path"])
    if (found["source"], found.get("asked")) != (base.model, base.revision) or not folder.is_dir():
        return False
    if quick_state(folder) == receipt.result["state"]:
        return True
    return bool(weights_digest(folder) == receipt.result["digest"])


def _facts(recipe: Recipe, folder: Path) -> dict[str, Any]:
    check_folder(folder)
    _check_variants(recipe, folder)
    if problems := succession.model_problems(recipe, folder):
        raise RecipeError("this model cannot be trained as the recipe asks", problems=problems)
    return {"digest": weights_digest(folder), "precision": stored_dtype(config_of(folder))}


def _check_variants(recipe: Recipe, folder: Path) -> None:
    """Now that the architecture is known: better here than after days of training."""
    config = config_of(folder)
    problems = [
        Problem(f"variants  {ref.name}", problem.message, problem.hint)
        for ref in recipe.variants
        for problem in plugins.make("schemes", ref).check_model(config)
    ]
    if problems:
        raise RecipeError("this model cannot be quantized as the recipe asks", problems=problems)
