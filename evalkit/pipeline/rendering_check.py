"""Whether a base's tokenizer can render what a recipe asks of it: known before any work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError, Problem, RecipeError
from evalkit.loading import check_folder, check_model_type, load_tokenizer
from evalkit.pipeline import plugins
from evalkit.pipeline.layout import iterations, stage_of
from evalkit.pipeline.stage_rendering import check_template, sampling_token_ids
from evalkit.recipe import Recipe
from evalkit.records import Prompt
from evalkit.roles import PluginRef
from evalkit.stages import Stage


def tokenizer_of(recipe: Recipe) -> Any | None:
    """The tokenizer of a base that is a whole folder; None where there is nothing to ask yet."""
    model = recipe.base.model
    if model is None or not Path(model).is_dir() or find_spec("transformers") is None:
        return None
    try:
        check_folder(model)
        tokenizer = _opened(model)
        check_template(recipe, tokenizer)
        return tokenizer
    except EvalkitError:
        return None  # told as a problem of the base


def example_of(recipe: Recipe) -> list[str]:
    """An example's token ids as training sees it, in lines; none where there is nothing yet."""
    tokenizer = tokenizer_of(recipe) if recipe.stages else None
    return [] if tokenizer is None else check_template(recipe, tokenizer)


def base_problems(recipe: Recipe, folder: str | Path) -> Iterator[Problem]:
    """What keeps a checkpoint folder from being used, seen without loading its weights."""
    try:
        check_folder(folder)
        if find_spec("transformers") is not None:
            check_model_type(folder)
            check_template(recipe, _opened(folder))
    except EvalkitError as error:
        yield Problem.of("model", error)


def prompt_problems(tokenizer: Any, stage: Stage, prompts: Sequence[Prompt]) -> Iterator[Problem]:
    """What the template makes of a stage's prompts: one of each order of roles is rendered."""
    kinds = {tuple(message.role for message in prompt.messages): prompt for prompt in prompts}
    for prompt in kinds.values():
        try:
            sampling_token_ids(tokenizer, stage, prompt.messages)
        except EvalkitError as error:
            yield Problem("", f"prompt {prompt.id}: {error.message}", error.hint)


def check_base(recipe: Recipe, folder: Path) -> None:
    """Checks a base that was only now fetched, as `preflight` checks one that is a folder.

    Raises:
        RecipeError: it cannot be loaded, or cannot render what the recipe asks.
    """
    found = [problem._replace(where="base.model") for problem in base_problems(recipe, folder)]
    if not found and find_spec("transformers") is not None:
        found = list(_fetched_problems(recipe, _opened(folder)))
    if found:
        raise RecipeError("this base does not fit the recipe", problems=found)


def _fetched_problems(recipe: Recipe, tokenizer: Any) -> Iterator[Problem]:
    seen: list[PluginRef] = []
    for slot in iterations(recipe):
        stage = stage_of(recipe, slot)
        if stage.prompts in seen:
            continue
        seen.append(stage.prompts)
        prompts = plugins.make("sources", stage.prompts).prompts()
        for problem in prompt_problems(tokenizer, stage, prompts):
            yield problem._replace(where=f"stages.{slot.stage_index}.prompts")
    for number, ref in enumerate(recipe.evaluation.benchmarks):
        for problem in plugins.make("benchmarks", ref).check_tokenizer(tokenizer):
            yield problem._replace(where=f"evaluation.benchmarks.{number}.{problem.where}")


def _opened(folder: str | Path) -> Any:
    return _loaded(str(folder), str(Path(folder).resolve()))


@lru_cache(maxsize=2)
def _loaded(written: str, resolved: str) -> Any:
    return load_tokenizer(written)
