"""Which Hub datasets the harness's tasks read, and what is told of those that are not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("datasets")

import datasets
import datasets.config

from evalkit.benchmarks.lm_eval_datasets import HubDataset, datasets_of, is_here, problems_of
from evalkit.benchmarks.lm_eval_tasks import LmEvalTasks, _full_task_manager

# Source: the datasets' pages on the Hub; the tasks of Open LLM Leaderboard v1 and v2.
OF_OPENLLM = {
    "allenai/ai2_arc", "Rowan/hellaswag", "cais/mmlu", "truthfulqa/truthful_qa",
    "allenai/winogrande", "openai/gsm8k",
}  # fmt: skip
OF_LEADERBOARD = {
    "SaylorTwift/bbh", "Idavidrein/gpqa", "TIGER-Lab/MMLU-Pro", "TAUR-Lab/MuSR",
    "wis-k/instruction-following-eval", "DigitalLearningGmbH/MATH-lighteval",
}  # fmt: skip


@pytest.fixture(scope="module")
def index() -> Any:
    return _full_task_manager(None).task_index


def test_the_leaderboards_datasets_are_known_without_loading_any(index: Any) -> None:
    found = datasets_of(index, ["openllm", "leaderboard"])
    assert {one.path for one in found} == OF_OPENLLM | OF_LEADERBOARD
    assert len({one for one in found if one.path == "cais/mmlu"}) == 57
    assert found[HubDataset("allenai/ai2_arc", "ARC-Challenge")] == ["arc_challenge"]
    assert found[HubDataset("allenai/winogrande", "winogrande_xl")] == ["winogrande"]


def test_a_tag_has_the_datasets_of_its_tasks(index: Any) -> None:
    found = datasets_of(index, ["ai2_arc"])
    assert {one.config for one in found} == {"ARC-Challenge", "ARC-Easy"}


def test_definitions_over_files_have_none(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("task: mine\ndataset_path: json\ndoc_to_text: x\n")
    assert not _benchmark(tasks=("mine",), include_path=str(tmp_path))._reads_hub()
    (tmp_path / "mine.yaml").write_text("task: mine\ndataset_path: org/data\ndoc_to_text: x\n")
    benchmark = _benchmark(tasks=("mine",), include_path=str(tmp_path))
    assert benchmark._reads_hub()
    assert benchmark._hub_datasets() == {HubDataset("org/data", None): ["mine"]}


def test_the_pocket_tasks_read_nothing() -> None:
    assert not _benchmark(tasks=("pocket_exact",), include_path="pocket")._reads_hub()


def test_tasks_that_local_data_stands_for_read_nothing(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text('{"question": "q", "answer": "a"}\n')
    benchmark = _benchmark(tasks=("gsm8k", "winogrande"), data={"gsm8k": {"test": str(file)}})
    assert {one.path for one in benchmark._hub_datasets()} == {"allenai/winogrande"}


def test_what_is_neither_here_nor_in_reach_is_told_once_for_each_dataset(
    unplugged: None, index: Any
) -> None:
    problems = problems_of(datasets_of(index, ["mmlu", "gsm8k"]))
    told = [one.message.split(" is not")[0] for one in problems]
    assert told == ["the dataset cais/mmlu", "the dataset openai/gsm8k"]
    assert all(one.prerequisite for one in problems)
    assert "mmlu_abstract_algebra" in problems[0].message
    assert "evalkit prefetch" in problems[0].hint


def test_what_is_in_the_cache_is_not_asked_for(
    unplugged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    made = tmp_path / "org___data" / "alpha" / "0.0.0" / ("a" * 40)
    made.mkdir(parents=True)
    (made / "dataset_info.json").write_text("{}")
    assert is_here(HubDataset("org/data", "alpha"))
    assert is_here(HubDataset("org/data", None))
    assert not is_here(HubDataset("org/data", "beta"))
    wanted = {HubDataset("org/data", "alpha"): ["a"], HubDataset("org/data", "beta"): ["b"]}
    (problem,) = problems_of(wanted)
    assert "its tasks: b" in problem.message


def _benchmark(**options: Any) -> LmEvalTasks:
    return LmEvalTasks(LmEvalTasks.Options(**options))
