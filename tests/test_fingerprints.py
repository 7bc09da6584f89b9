"""Whatever decides a result is in a step's settings: change it, and the step is not reused."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import RecipeError
from evalkit.pipeline import evaluation, plugins, runner
from evalkit.pipeline.plan import make_plan
from evalkit.pipeline.step import RunOptions
from evalkit.recipe import Recipe
from evalkit.roles import PluginRef
from evalkit.rundir import RunDir

OPTIONS = RunOptions(hub_root=Path("hub"))
JUDGE = '''
"""Prefers whatever is shown first."""
from evalkit.roles import Judge, Verdict

class First(Judge):
    def identity(self):
        return {"name": "first"}

    def compare(self, requests, progress):
        return [Verdict(STRENGTH) for _ in requests]

PLUGIN = First
'''


def _recipe(**sections: Any) -> Recipe:
    whole = {"name": "x", "base": {"model": "m"}, "card": {"title": "t", "license": "mit"}}
    return Recipe.model_validate(whole | sections)


def _found_base(folder: Path, run: RunDir) -> list[str]:
    plan = make_plan(_recipe(base={"model": str(folder)})).up_to({"base"})
    return runner.execute(plan, run, OPTIONS)


@pytest.fixture
def model(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def test_a_base_folder_changed_in_place_is_noticed(model: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    assert _found_base(model, run) == ["base"]
    assert _found_base(model, run) == []
    before = run.receipt("base")
    weights = next(model.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert _found_base(model, run) == ["base"]
    after = run.receipt("base")
    assert before and after and before.result["digest"] != after.result["digest"]


def test_a_base_folder_that_was_only_touched_is_kept(model: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    _found_base(model, run)
    next(model.glob("*.safetensors")).touch()
    assert _found_base(model, run) == []


def test_a_base_that_no_variant_can_be_made_of_is_refused_at_once(
    model: Path, tmp_path: Path
) -> None:
    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config.replace('"llama"', '"mamba"'))
    recipe = _recipe(base={"model": str(model)}, variants=["w4a16_rtn"])
    plan = make_plan(recipe).up_to({"base"})
    with pytest.raises(RecipeError, match="cannot be quantized"):
        runner.execute(plan, RunDir(tmp_path / "run"), OPTIONS)


def test_a_plugin_file_counts_by_its_text(tmp_path: Path) -> None:
    file = tmp_path / "first.py"
    found = []
    for strength in ("1.0", "2.0"):
        file.write_text(JUDGE.replace("STRENGTH", strength))
        found.append(plugins.settings("judges", PluginRef(name=str(file))))
    assert found[0] != found[1]
    assert found[0]["name"] == found[1]["name"] == "first"


def test_a_baseline_file_counts_by_its_text(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    benchmark = {
        "name": "alpaca_eval",
        "instructions": {"name": "pocket", "split": "open", "count": 2},
        "baseline": str(baseline),
    }
    recipe = _recipe(evaluation={"benchmarks": [benchmark], "judge": "rule"})
    found = []
    for text in ("[]", "[1]"):
        baseline.write_text(text)
        found.append(evaluation.step(recipe, "base", recipe.evaluation.benchmarks[0]).settings)
    assert found[0] != found[1]


def test_a_task_definition_counts_by_its_text(tmp_path: Path) -> None:
    benchmark = {"name": "lm_eval_tasks", "tasks": ["mine"], "include_path": str(tmp_path)}
    recipe = _recipe(evaluation={"benchmarks": [benchmark]})
    found = []
    for shots in (0, 5):
        (tmp_path / "mine.yaml").write_text(f"task: mine\nnum_fewshot: {shots}\n")
        found.append(evaluation.step(recipe, "base", recipe.evaluation.benchmarks[0]).settings)
    assert found[0] != found[1]
