"""Checks before any work: each mistake is told with its place, and costs nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from recipe_worlds import evalkit
from transformers import AutoTokenizer

from evalkit import rendering
from evalkit.errors import RecipeError
from evalkit.pipeline import plugins, preflight, rendering_check
from evalkit.recipe_file import read_recipe
from evalkit.records import Message

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


def test_samples_that_would_all_be_the_same(tmp_path: Path) -> None:
    said = _said(tmp_path, stages=_stage(sampling={"temperature": 0, "max_new_tokens": 8}))
    assert "stages.0.sampling.temperature" in said
    assert "all 3 samples of a prompt are the same" in said


def test_what_the_comparison_with_the_parent_is_given(tmp_path: Path) -> None:
    data = tmp_path / "prompts.jsonl"
    data.write_text(json.dumps({"prompt": "Hello?"}) + "\n")
    prompts = {"name": "file", "path": str(data)}
    said = _said(tmp_path, stages=_stage(head_to_head={"source": prompts}))
    assert "stages.0.head_to_head.source" in said and "rule" in said  # these have none to check by
    said = _said(tmp_path, stages=_stage(head_to_head={"source": {"name": "fle", "path": "x"}}))
    assert "stages.0.head_to_head.source" in said and "did you mean 'file'" in said
    said = _said(tmp_path, stages=_stage(head_to_head={"other_judge": "ruel"}))
    assert "stages.0.head_to_head.other_judge" in said and "did you mean 'rule'" in said


def test_a_gate_metric_that_nothing_has(tmp_path: Path) -> None:
    said = _said(tmp_path, stages=_stage(gate={"metric": "win_rate_over_paren"}))
    assert "stages.0.gate.metric" in said and "did you mean 'win_rate_over_parent'" in said


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


# --- what the user's own rows become --------------------------------------------------------------


def _on_data(tmp_path: Path, base: Path | str, *rows: dict[str, Any], method: str = "spin") -> Path:
    """A recipe of one stage on these rows."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = yaml.safe_load(MICRO.read_text()) | {
        "base": {"model": str(base)},
        "stages": [{"method": method, "prompts": {"name": "file", "path": str(data)}}],
        "evaluation": {},
        "variants": [],
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return file


ROWS = (
    {"id": "first", "prompt": "Why is the sky blue?", "response": "Because of the air."},
    {"id": "second", "prompt": "And the sea?", "response": "Because of the sky."},
)


def _dry_run(file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    words = ("train", str(file), "--dry-run", "--out", str(tmp_path / "run"))
    assert evalkit(*words) == 0
    return capfd.readouterr().err


def test_a_dry_run_shows_the_first_row_of_ones_own_data(
    tmp_path: Path, tiny_llama: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = _dry_run(_on_data(tmp_path, tiny_llama, *ROWS), tmp_path, capfd)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    messages = (Message("user", str(ROWS[0]["prompt"])),)
    prompt = rendering.prompt_token_ids(tokenizer, messages)
    gold = rendering.response_token_ids(tokenizer, messages, str(ROWS[0]["response"]))
    assert "the first row of stages.0.prompts (first)" in said
    words = " ".join(said.split())
    assert f"prompt {' '.join(map(str, prompt))} as text" in words
    assert f"gold {' '.join(map(str, gold))} as text" in words
    assert "Say hello" not in said


@pytest.mark.parametrize("prefix", ["", "Read this. "])
def test_rows_that_hold_bos_themselves_are_refused_before_the_run(
    tmp_path: Path, tiny_llama: Path, prefix: str
) -> None:
    bos = AutoTokenizer.from_pretrained(tiny_llama).bos_token
    rendered = {"id": "third", "prompt": f"{prefix}{bos}[INST] Why? [/INST]", "response": "No."}
    rows = (rendered, *ROWS) if prefix else (*ROWS, rendered)  # wherever a row begins with it
    with pytest.raises(RecipeError) as error:
        preflight.check(read_recipe(_on_data(tmp_path, tiny_llama, *rows)), "train")
    [problem] = error.value.problems
    assert "prompt third: its text holds" in problem.message
    assert "2 BOS tokens in place of 1" in problem.message
    assert "stages.0.prompts" in problem.where


def test_a_base_that_the_hub_s_cache_holds_is_shown_and_nothing_is_fetched(
    tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("socket.socket.connect", None)  # nobody is asked
    repository, commit = cache / "models--me--tiny", "5" * 40
    shutil.copytree(tiny_llama, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)

    def shown(base: str) -> str:
        recipe = read_recipe(_on_data(tmp_path, base, *ROWS)).recipe
        prompts = plugins.make("sources", recipe.stages[0].prompts).prompts()
        assert list(rendering_check.row_problems(recipe, recipe.stages[0], prompts)) == []
        return "\n".join(rendering_check.examples_of(recipe))

    assert "the first row of stages.0.prompts (first)" in shown("me/tiny")
    assert shown("me/other") == ""  # no tokenizer yet


def test_data_that_is_not_there_leaves_an_example_of_ours(tmp_path: Path, tiny_llama: Path) -> None:
    file = _on_data(tmp_path, tiny_llama, *ROWS)
    document = yaml.safe_load(file.read_text())
    document["stages"][0]["prompts"] = {"name": "dataset", "dataset": "me/never-read"}
    recipe = read_recipe(file).recipe.model_validate(document)
    lines = rendering_check.examples_of(recipe)
    assert "renders an example so" in lines[0]
