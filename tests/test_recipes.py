"""The recipes of `recipes/`: they plan offline, say what is published, and name their sources."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recipe_worlds import BASE_OF, RECIPES, evalkit

from evalkit.errors import RecipeError
from evalkit.recipe import Recipe
from evalkit.recipe_file import read_recipe
from evalkit.stages import Stage

pytest.importorskip("lm_eval")
pytest.importorskip("alpaca_eval")

NAMES = sorted(BASE_OF)
# Licence, and how a model's name must begin by it.
LICENCES = {
    "gemma-2-9b-sppo": ("gemma", ""),
    "llama-3-8b-sppo": ("llama3", "Llama-3"),
    "mistral-7b-sppo": ("apache-2.0", ""),
    "phi-2-spin": ("mit", ""),
    "phi-2-spin-sft-spin": ("mit", ""),
    "smollm2-135m-sppo": ("apache-2.0", ""),
    "zephyr-7b-spin": ("mit", ""),
}
COMMENTED = re.compile(r"^      (  )?\w+: [^&*{|>]")  # an option of a stage's part
PARTS = ("method:", "sampling:", "preferences:", "training:")


def recipe(name: str, *overrides: str) -> Recipe:
    return read_recipe(RECIPES / f"{name}.yaml", overrides).recipe


def each_iteration(name: str, *overrides: str) -> list[Stage]:
    return [
        stage.of_iteration(position)
        for stage in recipe(name, *overrides).stages
        for position in range(stage.iterations)
    ]


def test_every_recipe_is_executed_somewhere() -> None:
    shipped = {file.stem for file in RECIPES.glob("*.yaml")}
    assert shipped == {*BASE_OF, "quickstart", "quickstart-spin"}


@pytest.mark.usefixtures("unplugged")
def test_dry_run_prints_the_plan_without_network_token_or_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evalkit("train-and-publish", str(RECIPES / "mistral-7b-sppo.yaml"), "--dry-run") == 0
    out, err = capsys.readouterr()
    assert "iter3-train" in out and "would push to https://huggingface.co, private" in out
    assert "note: to run this plan, this machine lacks" in err
    assert "there is no token" in err and "error" not in err


@pytest.mark.usefixtures("unplugged")
@pytest.mark.parametrize("name", NAMES)
def test_the_resolved_plan(
    name: str,
    golden: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # where no run lies yet
    words = ("train-and-publish", str(RECIPES / f"{name}.yaml"), "--dry-run", "--json")
    assert evalkit(*words) == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out.replace(f"{tmp_path}/", ""))
    del plan["lacking"]  # says what this machine has
    _name_equal_settings_once(plan["steps"])
    golden(f"plans/{name}.json", json.dumps(plan, indent=1, sort_keys=True) + "\n")


def _name_equal_settings_once(steps: list[dict[str, Any]]) -> None:
    """Most measurements differ in nothing but the checkpoint, which is no setting."""
    first: dict[str, str] = {}
    for step in steps:
        settings = json.dumps(step["settings"], sort_keys=True)
        if first.setdefault(settings, step["step"]) != step["step"]:
            step["settings"] = f"those of {first[settings]}"


@pytest.mark.parametrize("name", NAMES)
def test_licence_and_name_follow_the_base(name: str) -> None:
    found = recipe(name)
    licence, beginning = LICENCES[name]
    assert found.card.license == licence
    assert found.name.startswith(beginning) and found.card.title.startswith(beginning)
    assert ("Built with Meta Llama 3" in found.card.summary) == (licence == "llama3")


@pytest.mark.parametrize("name", NAMES)
def test_every_training_value_names_its_source(name: str) -> None:
    part, checked = "", 0
    for line in (RECIPES / f"{name}.yaml").read_text("utf-8").splitlines():
        if line.startswith("evaluation:"):
            break
        if line.strip().split(" ")[0] in PARTS:
            part = line
        elif not line.startswith("      "):
            part = ""
        if part and COMMENTED.match(line) and not line.strip().startswith("name:"):
            assert "  # " in line, line
            checked += 1
    assert checked >= 8


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_the_evaluation_names_its_source(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text("utf-8")
    section = text.split("\nevaluation:")[1].split("\ncard:")[0].splitlines()
    values = [line for line in section if re.match(r" +(- )?\w+: [^&*{|>]", line)]
    named = [line for line in values if "name:" not in line]
    assert len(named) >= 5
    assert [line for line in named if "  # " not in line] == []


def test_zephyr_s_iterations_differ_as_published() -> None:
    stages = each_iteration("zephyr-7b-spin")
    assert [stage.training.learning_rate for stage in stages] == [5e-7, 5e-7, 1e-7, 1e-7]
    assert [stage.method.options["beta"] for stage in stages] == [0.1, 0.1, 0.1, 5.0]
    assert {stage.method.options["accumulate"] for stage in stages} == {"previous"}
    assert {(stage.training.epochs, stage.training.schedule_epochs) for stage in stages} == {(2, 6)}


@pytest.mark.parametrize(
    ("name", "schedule_epochs"),
    [("mistral-7b-sppo", 18), ("llama-3-8b-sppo", 6), ("gemma-2-9b-sppo", 1)],
)
def test_sppo_stops_after_an_epoch_of_its_schedule(name: str, schedule_epochs: int) -> None:
    stages = each_iteration(name)
    assert [stage.training.epochs for stage in stages] == [1, 1, 1]
    assert {stage.training.schedule_epochs for stage in stages} == {schedule_epochs}
    sets = [stage.prompts.options["dataset"] for stage in stages]
    assert sets == [f"UCLA-AGI/data-mistral-7b-instruct-sppo-iter{number}" for number in (1, 2, 3)]


def test_an_override_reaches_one_iteration() -> None:
    key = "stages.0.per_iteration.1.sampling.max_new_tokens"
    stages = each_iteration("zephyr-7b-spin", f"{key}=7")
    assert [stage.sampling.max_new_tokens for stage in stages] == [256, 7, 256, 256]
    assert [stage.training.learning_rate for stage in stages] == [5e-7, 5e-7, 1e-7, 1e-7]


def test_an_override_changes_one_place_even_where_an_alias_stands() -> None:
    changed = recipe("phi-2-spin-sft-spin", "stages.2.prompts.count=9")
    assert changed.stages[0].prompts.options["count"] == 50000


def test_a_mistake_in_what_is_merged_in_is_told_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = (RECIPES / "phi-2-spin-sft-spin.yaml").read_text("utf-8")
    file.write_text(text.replace("      optimizer: rmsprop ", "      optimizer: rmsprob "), "utf-8")
    line = 1 + text.splitlines().index(next(x for x in text.splitlines() if "rmsprop" in x))
    with pytest.raises(RecipeError) as caught:
        read_recipe(file)
    wheres = [problem.where for problem in caught.value.problems]
    assert [where.split("  ")[0] for where in wheres] == [f"{file}:{line}"] * 2
