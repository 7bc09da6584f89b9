"""Which Hub datasets the harness's tasks read, and what is told of those that are not here."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("datasets")

import datasets
import datasets.config
from datasets.naming import camelcase_to_snakecase

from evalkit.benchmarks.lm_eval_commits import (
    UNKNOWN,
    HubDataset,
    at_commits,
    commits_of,
    is_here,
    loaded_commit,
)
from evalkit.benchmarks.lm_eval_datasets import datasets_of, definitions, problems_of
from evalkit.benchmarks.lm_eval_tasks import LmEvalTasks, _full_task_manager
from evalkit.errors import ScoreError
from evalkit.leaderboard import read_definition

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


@pytest.mark.parametrize("name", ["open_llm_v1", "open_llm_v2"])
def test_the_leaderboards_columns_are_the_harness_s_tasks(index: Any, name: str) -> None:
    """All parts of a group and no others; shots and metrics; what guessing among choices gives."""
    for column in read_definition(name).columns:
        parts = {part.task: part for part in column.parts}
        own = {one.values["task"]: one.values for one in definitions(index, column.task)}
        assert set(own) == (set(parts) or {column.task})
        for task, definition in own.items():
            if "num_fewshot" in definition:  # v1's own say nothing: its shots are asked for
                assert definition["num_fewshot"] == column.settings["few_shot"]
            metrics = {one["metric"] for one in definition["metric_list"]}
            assert {part.metric for part in column.parts if part.task == task} <= metrics
            choices = definition.get("doc_to_choice")
            if task in parts and isinstance(choices, list) and name == "open_llm_v2":
                guessed = parts[task].guessing or column.guessing
                assert guessed == pytest.approx(1 / len(choices), abs=1e-6)


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


class TestCommits:
    A, B, C = "a" * 40, "b" * 40, "c" * 40

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
        return tmp_path

    def made(self, cache: Path, folder: str, commit: str, when: int) -> None:
        """What `datasets` leaves behind of a dataset that it has loaded."""
        path = cache / folder / "0.0.0" / commit
        path.mkdir(parents=True)
        (path / "dataset_info.json").write_text("{}")
        os.utime(path, (when, when))

    @pytest.mark.parametrize(
        ("name", "folder"),
        [
            ("TIGER-Lab/MMLU-Pro", "TIGER-Lab___mmlu-pro"),
            ("TAUR-Lab/MuSR", "TAUR-Lab___mu_sr"),
            ("DigitalLearningGmbH/MATH-lighteval", "DigitalLearningGmbH___math-lighteval"),
            ("wikitext", "wikitext"),
        ],
    )
    def test_the_cache_s_folders_are_found(
        self, unplugged: None, cache: Path, name: str, folder: str
    ) -> None:
        """Named as `datasets` itself names them."""
        builder = datasets.load_dataset_builder(
            "json", data_files=str(_rows(cache / "x.jsonl")), cache_dir=str(cache)
        )
        builder.repo_id, builder.dataset_name = name, camelcase_to_snakecase(name.split("/")[-1])
        assert builder._relative_data_dir().split("/")[0] == folder
        self.made(cache, f"{folder}/main", self.A, 1)
        assert is_here(HubDataset(name, "main"))
        assert commits_of([HubDataset(name, "main")], {}) == {name: self.A}

    def test_the_newest_that_has_all_configurations(self, unplugged: None, cache: Path) -> None:
        one, two = HubDataset("org/data", "one"), HubDataset("org/data", "two")
        assert commits_of([one, two], {}) == {"org/data": UNKNOWN}
        self.made(cache, "org___data/one", self.A, 1)
        self.made(cache, "org___data/one", self.B, 2)
        assert commits_of([one, two], {}) == {"org/data": self.B}
        self.made(cache, "org___data/two", self.A, 3)
        assert commits_of([one, two], {}) == {"org/data": self.A}
        assert commits_of([one, two], {"org/data": self.C}) == {"org/data": self.C}
        assert commits_of([one, two], {"org/data": "main"}) == {"org/data": UNKNOWN}

    def test_it_is_loaded_at_its_commit_and_at_no_other(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        monkeypatch.setattr(datasets, "load_dataset", lambda path, **o: asked.append((path, o)))
        with at_commits({"org/data": self.A, "org/lost": UNKNOWN}):
            datasets.load_dataset(path="org/data", name="one")
            datasets.load_dataset("org/lost")
            datasets.load_dataset("json", data_files="x")
        datasets.load_dataset("org/data")
        assert asked == [
            ("org/data", {"name": "one", "revision": self.A}),
            ("org/lost", {}),
            ("json", {"data_files": "x"}),
            ("org/data", {}),
        ]

    def test_another_one_than_was_meant_is_an_error(self) -> None:
        split = SimpleNamespace(cache_files=[{"filename": f"/cache/{self.A}/test.arrow"}])
        task = SimpleNamespace(DATASET_PATH="org/data", dataset={"test": split}, task_name="quiz")
        assert loaded_commit(task, {"org/data": UNKNOWN}) == {"org/data": self.A}
        assert loaded_commit(task, {"org/data": self.A}) == {"org/data": self.A}
        assert loaded_commit(task, {"org/other": self.A}) == {"org/data": self.A}
        lost = SimpleNamespace(DATASET_PATH="org/data", dataset=None, task_name="in Python")
        assert loaded_commit(lost, {}) == {"org/data": UNKNOWN}
        for path in ("json", "/", None):
            files = SimpleNamespace(DATASET_PATH=path, dataset={"test": split}, task_name="own")
            assert loaded_commit(files, {}) == {}
        with pytest.raises(ScoreError, match="quiz has read org/data at aaaaaaaaaaaa, not at bbb"):
            loaded_commit(task, {"org/data": self.B})

    def test_a_run_s_fingerprint_says_it(self, unplugged: None, cache: Path) -> None:
        benchmark = _benchmark(tasks=("gsm8k",))
        assert benchmark.data_digests() == {"dataset openai/gsm8k": UNKNOWN}
        self.made(cache, "openai___gsm8k/main", self.A, 1)
        assert benchmark.data_digests() == {"dataset openai/gsm8k": self.A}
        benchmark = _benchmark(tasks=("gsm8k",), revisions={"openai/gsm8k": self.B})
        assert benchmark.data_digests() == {"dataset openai/gsm8k": self.B}

    def test_a_revision_of_a_dataset_that_nothing_reads(self, cache: Path) -> None:
        self.made(cache, "openai___gsm8k/main", self.A, 1)
        benchmark = _benchmark(tasks=("gsm8k",), revisions={"openai/gms8k": self.B})
        (problem,) = benchmark.check_data(_no_source, None)
        assert problem.where == "revisions"
        assert "did you mean 'openai/gsm8k'" in problem.hint


def _rows(file: Path) -> Path:
    file.write_text('{"a": 1}\n')
    return file


def _no_source(ref: Any) -> Any:
    raise AssertionError(ref)


def _benchmark(**options: Any) -> LmEvalTasks:
    return LmEvalTasks(LmEvalTasks.Options(**options))
