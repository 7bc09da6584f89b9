"""Whether a base's tokenizer can render what a recipe asks of it: known before any work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError, Problem, RecipeError
from evalkit.fetching import cached_tokenizer_folder
from evalkit.loading import check_folder, check_model_type, load_tokenizer
from evalkit.pipeline import plugins
from evalkit.pipeline.layout import iterations, stage_of
from evalkit.pipeline.stage_rendering import check_rows, check_template, example_lines
from evalkit.recipe import Recipe
from evalkit.records import Prompt, dumps
from evalkit.roles import PluginRef
from evalkit.stages import Stage

_first_rows: dict[str, Prompt] = {}  # of each source that was read here, by its reference


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


def examples_of(recipe: Recipe) -> list[str]:
    """The first row of each stage's data as training renders it, in lines; nothing is fetched.

    An example of ours for data that `row_problems` has not met; no lines without a tokenizer.
    """
    tokenizer = tokenizer_of(recipe) or _cached_tokenizer(recipe)
    if tokenizer is None:
        return []
    lines: list[str] = []
    for index, stage in enumerate(recipe.stages):
        row = _first_rows.get(dumps(stage.of_iteration(0).prompts.model_dump()))
        with suppress(EvalkitError):  # told as a problem of the stage
            lines += example_lines(tokenizer, recipe, index, row)
    return lines


def _cached_tokenizer(recipe: Recipe) -> Any | None:
    """The tokenizer of a base on the Hub, if this machine's cache has it."""
    model = recipe.base.model
    if model is None or Path(model).is_dir() or find_spec("transformers") is None:
        return None
    folder = cached_tokenizer_folder(model, recipe.base.revision)
    with suppress(EvalkitError):
        return None if folder is None else _opened(folder)
    return None


def row_problems(recipe: Recipe, stage: Stage, prompts: Sequence[Prompt]) -> Iterator[Problem]:
    """What the base's tokenizer makes of a stage's prompts, if it is here already."""
    _first_rows.update({dumps(stage.prompts.model_dump()): prompt for prompt in prompts[:1]})
    tokenizer = tokenizer_of(recipe)
    return iter(()) if tokenizer is None else check_rows(tokenizer, stage, prompts)


def base_problems(recipe: Recipe, folder: str | Path) -> Iterator[Problem]:
    """What keeps a checkpoint folder from being used, seen without loading its weights."""
    try:
        check_folder(folder)
        if find_spec("transformers") is not None:
            check_model_type(folder)
            check_template(recipe, _opened(folder))
    except EvalkitError as error:
        yield Problem.of("model", error)


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
        for problem in check_rows(tokenizer, stage, prompts):
            yield problem._replace(where=f"stages.{slot.stage_index}.prompts")
    for number, ref in enumerate(recipe.evaluation.benchmarks):
        for problem in plugins.make("benchmarks", ref).check_tokenizer(tokenizer):
            yield problem._replace(where=f"evaluation.benchmarks.{number}.{problem.where}")


def _opened(folder: str | Path) -> Any:
    return _loaded(str(folder), str(Path(folder).resolve()))


@lru_cache(maxsize=2)
def _loaded(written: str, resolved: str) -> Any:
    return load_tokenizer(written)
