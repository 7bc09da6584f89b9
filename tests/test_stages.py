"""Stages of a recipe: what is different from iteration to iteration, and what is wrong with it."""

from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import RecipeError
from evalkit.pipeline.layout import iterations, stage_of
from evalkit.pipeline.responses import first_prompt
from evalkit.pipeline.training import trained_on
from evalkit.recipe import Recipe, as_data
from evalkit.recipe_file import read_recipe
from evalkit.stages import Stage

STAGE: dict[str, Any] = {
    "method": {"name": "spin", "beta": 0.1, "samples": 2},
    "prompts": {"name": "pocket", "split": "self_play", "count": 12},
    "iterations": 3,
}
RECIPE = """\
name: x
base: {model: some/model}
stages:
  - method: {name: spin, beta: 0.1}
    iterations: 3
    prompts: {name: pocket, split: self_play}
    training: {batch_size: 8}
    per_iteration:
      - {}
      - training: {learning_rate: 1.0e-7}
card: {title: x, license: mit}
"""


def _stage(*per_iteration: dict[str, Any], **more: Any) -> Stage:
    return Stage.model_validate({**STAGE, "per_iteration": list(per_iteration), **more})


def _read(tmp_path: Path, *overrides: str, text: str = RECIPE) -> Stage:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return read_recipe(file, overrides).recipe.stages[0]


def _problems(tmp_path: Path, last: str) -> list[tuple[str, str]]:
    with pytest.raises(RecipeError) as caught:
        _read(tmp_path, text=RECIPE.replace("- training: {learning_rate: 1.0e-7}", f"- {last}"))
    return [(p.where.partition("mine.yaml:")[2], f"{p.message}: {p.hint}")
            for p in caught.value.problems]  # fmt: skip


def test_changes_are_merged_over_the_stage_for_their_iteration_alone() -> None:
    stage = _stage({}, {"training": {"learning_rate": 1e-3}, "method": {"beta": 5.0}})
    first, second, third = (stage.of_iteration(position) for position in range(3))
    assert first == third
    assert second.training.learning_rate == 1e-3
    assert second.training.batch_size == first.training.batch_size
    assert second.method.options == {"beta": 5.0, "samples": 2}


def test_another_plugin_brings_its_own_options_only() -> None:
    stage = _stage({"prompts": {"name": "file", "path": "a.jsonl"}, "judge": "rule"})
    assert stage.of_iteration(0).prompts.options == {"path": "a.jsonl"}
    assert stage.of_iteration(0).judge is not None
    assert stage.of_iteration(1).prompts.options == {"split": "self_play", "count": 12}
    assert stage.of_iteration(1).judge is None


def test_a_bare_name_of_the_same_plugin_changes_nothing() -> None:
    stage = _stage({"method": "spin"})
    assert stage.of_iteration(0).method == stage.of_iteration(1).method


def test_the_resolved_recipe_with_changes_reads_back_as_itself() -> None:
    stage = _stage({"training": {"adapter": {"rank": 8}}}, {})
    whole = {"name": "x", "base": {"model": "m"}, "card": {"title": "t", "license": "mit"}}
    recipe = Recipe.model_validate({**whole, "stages": [stage]})
    again = Recipe.model_validate(as_data(recipe))
    assert again == recipe
    adapter = again.stages[0].of_iteration(0).training.adapter
    assert adapter is not None and adapter.rank == 8


def test_stage_of_is_the_iteration_s_own() -> None:
    stage = _stage({}, {"method": {"beta": 2.0}})
    whole = {"name": "x", "base": {"model": "m"}, "card": {"title": "t", "license": "mit"}}
    recipe = Recipe.model_validate({**whole, "stages": [{**STAGE, "iterations": 1}, stage]})
    betas = [stage_of(recipe, slot).method.options["beta"] for slot in iterations(recipe)]
    assert betas == [0.1, 0.1, 2.0, 0.1]


@pytest.mark.parametrize(
    ("last", "where", "said"),
    [
        ("{trainin: {}}", "10  stages.0.per_iteration.1.trainin", "did you mean 'training'?"),
        ("{training: {learning_rat: 1}}", "10  stages.0.per_iteration.1.training.learning_rat",
         "did you mean 'learning_rate'?"),
        ("{training: {learning_rate: 7}}", "10  stages.0.per_iteration.1.training.learning_rate",
         "too large"),
        ("{training: {micro_batch_size: 3}}", "10  stages.0.per_iteration.1.training",
         "batch_size 8 is not a multiple of micro_batch_size 3"),
        ("{iterations: 2}", "10  stages.0.per_iteration.1.iterations", "beside 'per_iteration'"),
        ("{gate: {action: stop}}", "10  stages.0.per_iteration.1.gate", "beside 'per_iteration'"),
        ("{method: sppo}", "10  stages.0.per_iteration.1.method", "a stage of its own"),
        ("7", "10  stages.0.per_iteration.1", "not a mapping"),
        ("{}\n      - {}\n      - {seed: 1}", "12  stages.0.per_iteration.3",
         "the stage has no iteration 4"),
    ],
)  # fmt: skip
def test_mistakes_are_told_where_they_stand(
    tmp_path: Path, last: str, where: str, said: str
) -> None:
    ((found, text),) = _problems(tmp_path, last)
    assert found == where
    assert said in text


def test_a_mistake_of_the_stage_is_told_once_beside_those_of_its_iterations(
    tmp_path: Path,
) -> None:
    text = RECIPE.replace("batch_size: 8", "batch_size: x")
    with pytest.raises(RecipeError) as caught:
        _read(tmp_path, "stages.0.per_iteration.1.sampling.top_p=3", text=text)
    places = [problem.where.split("  ")[1] for problem in caught.value.problems]
    assert places == ["stages.0.training.batch_size", "stages.0.per_iteration.1.sampling.top_p"]


def test_an_override_reaches_an_iteration_that_the_file_does_not_name(tmp_path: Path) -> None:
    stage = _read(tmp_path, "stages.0.per_iteration.2.training.learning_rate=0.5")
    rates = [stage.of_iteration(position).training.learning_rate for position in range(3)]
    assert rates == [5e-7, 1e-7, 0.5]
    bare = RECIPE[: RECIPE.index("    per_iteration")] + "card: {title: x, license: mit}\n"
    stage = _read(tmp_path, "stages.0.per_iteration.1.method.beta=3", text=bare)
    betas = [stage.of_iteration(position).method.options["beta"] for position in range(3)]
    assert betas == [0.1, 3, 0.1]


def test_iterations_take_what_earlier_ones_left_of_the_same_source() -> None:
    other = {"prompts": {"split": "open"}}
    stage = _stage({}, {"prompts_per_iteration": 2}, prompts_per_iteration=4)
    assert [first_prompt(stage, position) for position in range(3)] == [0, 4, 6]
    stage = _stage({}, other, {}, prompts_per_iteration=4)
    assert [first_prompt(stage, position) for position in range(3)] == [0, 0, 4]
    again = _stage({}, other, {}, prompts_per_iteration=4, reuse_prompts=True)
    assert [first_prompt(again, position) for position in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("accumulate", "expected"),
    [
        ("none", [["iter1"], ["iter2"], ["iter3"]]),
        ("previous", [["iter1"], ["iter1", "iter2"], ["iter2", "iter3"]]),
        ("all", [["iter1"], ["iter1", "iter2"], ["iter1", "iter2", "iter3"]]),
    ],
)
def test_what_is_accumulated(accumulate: str, expected: list[list[str]]) -> None:
    whole = {"name": "x", "base": {"model": "m"}, "card": {"title": "t", "license": "mit"}}
    method = {"name": "spin", "accumulate": accumulate}
    stages = [{**STAGE, "method": method}, {**STAGE, "iterations": 1}]
    recipe = Recipe.model_validate({**whole, "stages": stages})
    *first, second = [list(trained_on(stage_of(recipe, s), s)) for s in iterations(recipe)]
    assert first == expected
    assert second == ["iter4"]  # what another stage gathered is never taken over
