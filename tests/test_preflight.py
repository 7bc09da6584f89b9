"""Checks before any work: each mistake is told with its place, and costs nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit.errors import RecipeError
from evalkit.pipeline import preflight
from evalkit.recipe_file import read_recipe

MICRO = Path(__file__).parent / "recipes" / "micro.yaml"


def _said(tmp_path: Path, goal: str = "train-and-publish", **changes: Any) -> str:
    """What the checks say of the micro recipe with some sections replaced."""
    recipe = yaml.safe_load(MICRO.read_text()) | changes
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    try:
        preflight.check(read_recipe(file), goal)
    except RecipeError as error:
        return "\n".join(f"{p.where} {p.message} {p.hint}" for p in error.problems)
    return ""


def _stage(**changes: Any) -> list[dict[str, Any]]:
    return [yaml.safe_load(MICRO.read_text())["stages"][0] | changes]


def _evaluation(*benchmarks: Any, judge: str | None = "rule") -> dict[str, Any]:
    return {"judge": judge, "benchmarks": list(benchmarks)}


def test_the_micro_recipe_has_no_problem(tmp_path: Path) -> None:
    assert _said(tmp_path) == ""


def test_a_missing_judge(tmp_path: Path) -> None:
    assert "sppo needs a judge" in _said(tmp_path, stages=_stage(judge=None))


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("spin", {"judge": "rule"}),
        ("spin", {"preferences": {"temperature": 0.5}}),
        ("sft", {"sampling": {"temperature": 0.3}}),
        ("dpo", {"sampling": {"max_new_tokens": 9}}),
    ],
)
def test_keys_that_would_change_nothing(tmp_path: Path, method: Any, changes: Any) -> None:
    [micro] = _stage()
    plain = {"method": method, "prompts": micro["prompts"]}
    told = "so this would change nothing remove"
    assert told not in _said(tmp_path, stages=[plain])
    said = _said(tmp_path, stages=[plain | changes])
    [key] = changes
    assert f"stages.0.{key}" in said and f"{told} '{key}'" in said


def test_gold_responses_that_the_data_lacks(tmp_path: Path) -> None:
    data = tmp_path / "prompts.jsonl"
    data.write_text(json.dumps({"prompt": "Hello?"}) + "\n")
    prompts = {"name": "file", "path": str(data)}
    stages = [{"method": "spin", "prompts": prompts}]
    assert "1 of 1 have none" in _said(tmp_path, stages=stages)


def test_a_missing_data_file(tmp_path: Path) -> None:
    stages = _stage(prompts={"name": "file", "path": "nowhere.jsonl"})
    assert "nowhere.jsonl" in _said(tmp_path, stages=stages)


def test_prompts_that_the_judge_cannot_judge(tmp_path: Path) -> None:
    data = tmp_path / "prompts.jsonl"
    data.write_text(json.dumps({"prompt": "Hello?", "response": "Hi."}) + "\n")
    stages = _stage(
        prompts={"name": "file", "path": str(data)}, prompts_per_iteration=1, iterations=1
    )
    assert "rule" in _said(tmp_path, stages=stages)


@pytest.mark.parametrize(
    "benchmark",
    [
        {"name": "mt_bench", "questions": {"name": "pocket", "split": "open"}},
        {"name": "mt_bench", "questions": {"split": "open"}},
        {"name": "alpaca_eval", "instructions": {"name": "file", "path": "nowhere.jsonl"}},
        {"name": "lm_eval_tasks", "tasks": ["pocket_exat"], "include_path": "pocket"},
        {"name": "alpaca_eval", "instructions": {"name": "pocket", "split": "opn"}},
    ],
)
def test_evaluation_data_is_tried(tmp_path: Path, benchmark: dict[str, Any]) -> None:
    said = _said(tmp_path, evaluation=_evaluation(benchmark))
    assert "evaluation.benchmarks.0" in said


def test_a_benchmark_without_its_judge(tmp_path: Path) -> None:
    benchmark = {"name": "mt_bench", "questions": {"name": "pocket", "split": "two_turn"}}
    said = _said(tmp_path, evaluation=_evaluation(benchmark, judge=None))
    assert "needs evaluation.judge" in said


@pytest.mark.parametrize("namespace", ["", "my org", "a/b"])
def test_a_namespace_that_no_hub_takes(tmp_path: Path, namespace: str) -> None:
    assert "publish.namespace" in _said(tmp_path, publish={"namespace": namespace})


def test_a_name_that_is_too_long_once_its_suffix_is_added(tmp_path: Path) -> None:
    assert "publish" in _said(tmp_path, name="x" * 90)


def test_a_hub_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    remote = {"namespace": "me", "endpoint": "http://127.0.0.1:9"}
    assert "no token" in _said(tmp_path, publish=remote)


def test_only_what_a_goal_needs_is_checked(tmp_path: Path) -> None:
    remote = {"namespace": "me", "endpoint": "http://127.0.0.1:9"}
    broken = _evaluation({"name": "mt_bench", "questions": {"name": "pocket", "split": "open"}})
    assert _said(tmp_path, "train", publish=remote, evaluation=broken) == ""


def test_a_base_folder_that_is_no_checkpoint(tmp_path: Path, tiny_llama: Path) -> None:
    assert "base" in _said(tmp_path, base={"model": str(tmp_path)})
    assert "base" not in _said(tmp_path, base={"model": str(tiny_llama)})
    assert "no folder" in _said(tmp_path, base={"model": "./nowhere"})


def test_a_calibrated_scheme_without_a_stage(tmp_path: Path) -> None:
    assert "calibration" in _said(tmp_path, stages=[], variants=["w4a16_gptq"])


def test_publishing_without_a_section_for_it(tmp_path: Path) -> None:
    assert "no section 'publish'" in _said(tmp_path, "publish", publish=None)


def test_nothing_to_publish(tmp_path: Path, tiny_llama: Path) -> None:
    said = _said(tmp_path, base={"model": str(tiny_llama)}, stages=[], variants=[])
    assert "nothing to publish" in said
