"""Recipes: what is read, and what is said when they are wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import RecipeError
from evalkit.recipe import Recipe, as_data
from evalkit.recipe_file import read_recipe

MINIMAL = """\
name: Tiny-SPPO
base: {model: some/model}
stages:
  - method: sppo
    prompts: {name: pocket, split: self_play}
    judge: rule
card: {title: Tiny, license: mit}
"""


def _write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return file


def test_a_bare_name_is_a_plugin_without_options(tmp_path: Path) -> None:
    stage = read_recipe(_write(tmp_path, MINIMAL)).recipe.stages[0]
    assert stage.method.name == "sppo"
    assert stage.method.options == {}
    assert stage.prompts.options == {"split": "self_play"}


def test_every_problem_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    text = MINIMAL.replace("judge: rule", "jugde: rule").replace("license: mit", "license: MIT!")
    with pytest.raises(RecipeError) as caught:
        read_recipe(_write(tmp_path, text))
    typo, licence = caught.value.problems
    assert typo.where.endswith("mine.yaml:6  stages.0.jugde")
    assert "did you mean 'judge'" in typo.hint
    assert licence.where.endswith("mine.yaml:7  card.license")
    assert "apache-2.0" in licence.hint


def test_a_missing_key_names_the_section_it_belongs_to(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(_write(tmp_path, MINIMAL.replace(", license: mit", "")))
    assert [p.where.split("  ")[1] for p in caught.value.problems] == ["card.license"]


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'name' stands twice"):
        read_recipe(_write(tmp_path, MINIMAL + "name: Other\n"))


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    _write(tmp_path, MINIMAL)
    with pytest.raises(RecipeError) as caught:
        read_recipe(tmp_path / "mime.yaml")
    assert "mine.yaml" in caught.value.hint


@pytest.mark.parametrize("text", ["- a list", "name: [unclosed"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError):
        read_recipe(_write(tmp_path, text))


def test_overrides_reach_nested_keys_and_plugin_options(tmp_path: Path) -> None:
    overrides = [
        "seed=7", "stages.0.training.schedule_epochs=2", "stages.0.method.eta=20", "base.model=x/y",
    ]  # fmt: skip
    recipe = read_recipe(_write(tmp_path, MINIMAL), overrides).recipe
    assert recipe.seed == 7
    assert recipe.stages[0].training.schedule_epochs == 2
    assert recipe.stages[0].method.options == {"eta": 20}
    assert recipe.base.model == "x/y"


@pytest.mark.parametrize("override", ["seed", "stages.9.iterations=1", "=1"])
def test_a_bad_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        read_recipe(_write(tmp_path, MINIMAL), [override])


def test_base_needs_exactly_one_origin(tmp_path: Path) -> None:
    text = MINIMAL.replace("{model: some/model}", "{model: some/model, builder: pocket}")
    with pytest.raises(RecipeError) as caught:
        read_recipe(_write(tmp_path, text))
    assert "both of 'model' and 'builder'" in caught.value.problems[0].message


@given(st.text(max_size=40))
def test_a_name_is_either_refused_or_usable_in_a_repository_id(name: str) -> None:
    data = {"name": name, "base": {"model": "m"}, "card": {"title": "t", "license": "mit"}}
    try:
        recipe = Recipe.model_validate(data)
    except ValueError:
        return
    assert recipe.name.isascii()
    assert "/" not in recipe.name
    assert not any(character.isspace() for character in recipe.name)


def test_the_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = read_recipe(_write(tmp_path, MINIMAL)).recipe
    assert Recipe.model_validate(as_data(recipe)) == recipe
