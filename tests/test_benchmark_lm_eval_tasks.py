"""lm-evaluation-harness tasks: equal to the harness's own `hf` model, and honest results."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

import benchmark_parts as parts
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import OfflineModeIsEnabled
from lm_eval_parts import CHOICE, peer, write_tasks
from pydantic import ValidationError

from evalkit.benchmarks import lm_eval_results
from evalkit.benchmarks.lm_eval_tasks import RESULTS_FILE, LmEvalTasks
from evalkit.errors import PrerequisiteError, RecipeError, ScoreError
from evalkit.loading import load_model
from evalkit.records import ResultSet, dumps
from evalkit.registry import load
from evalkit.stats import comparable, compare


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> Any:
    return load_model(tiny_llama, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


def run(folder: Path, tiny_llama: Path, results: Path, loaded: Any, **options: Any) -> ResultSet:
    options = {"include_path": str(folder), **options}
    suite = LmEvalTasks(LmEvalTasks.Options(**options))
    assert suite.check() == []
    return suite.run(parts.context(tiny_llama, results, loaded=loaded))


class TestEqualToTheHarness:
    """Numbers of the harness's own `hf` model on the same weights."""

    @pytest.mark.parametrize("chat", [False, True])
    def test_task_scores_and_logps(
        self, folder: Path, tiny_llama: Path, tmp_path: Path, loaded: Any, chat: bool
    ) -> None:
        ours = run(
            folder,
            tiny_llama,
            tmp_path,
            loaded,
            tasks=["tiny_choice", "tiny_exact"],
            apply_chat_template=chat,
        )
        theirs = peer(["tiny_choice", "tiny_exact"], folder, loaded, apply_chat_template=chat)
        for sample in ours.samples:
            rows = [r for r in theirs["samples"][sample.task] if str(r["doc_id"]) == sample.id]
            if sample.task == "tiny_exact":
                assert sample.detail["response"] == rows[0]["resps"][0][0]
                continue
            expected = [response[0] for response in rows[0]["resps"]]
            for logp, greedy, (their_logp, their_greedy) in zip(
                sample.detail["logps"], sample.detail["greedy"], expected, strict=True
            ):
                assert logp == pytest.approx(their_logp, abs=1e-4)
                assert greedy == their_greedy
        result = theirs["results"]["tiny_choice"]
        score = ours.score("tiny_choice", "acc_norm")
        assert score.value == pytest.approx(100 * result["acc_norm,none"])
        assert score.stderr == pytest.approx(100 * result["acc_norm_stderr,none"])


class TestShots:
    """One number of few-shot examples for all tasks, or one for each."""

    def test_each_task_has_its_own(
        self, folder: Path, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        tasks = ["tiny_choice", "tiny_more", "tiny_default", "tiny_rolling"]
        shots = {"tiny_choice": 1, "tiny_more": 4}
        results = run(folder, tiny_llama, tmp_path, loaded, tasks=tasks, num_fewshot=shots)
        found = {score.task: score.settings["few_shot"] for score in results.scores}
        expected = {"tiny_choice": 1, "tiny_more": 4, "tiny_default": 2, "tiny_rolling": 0}
        assert found == expected
        raw = json.loads((tmp_path / RESULTS_FILE).read_text())
        assert raw["n-shot"] == expected
        for task, number in (("tiny_choice", 1), ("tiny_more", 4), ("tiny_default", None)):
            alone = run(
                folder, tiny_llama, tmp_path / task, loaded, tasks=[task], num_fewshot=number
            )
            assert alone.scores == tuple(s for s in results.scores if s.task == task)
            together = [s.detail["prompt"] for s in results.samples if s.task == task]
            assert [sample.detail["prompt"] for sample in alone.samples] == together

    def test_a_group_s_number_is_for_its_tasks(
        self, folder: Path, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        tasks = ["tiny_group", "tiny_more"]
        shots = {"tiny_group": 3}
        results = run(folder, tiny_llama, tmp_path, loaded, tasks=tasks, num_fewshot=shots)
        assert results.score("tiny_choice", "acc_norm").settings["few_shot"] == 3
        assert results.score("tiny_exact", "exact_match").settings["few_shot"] == 0
        assert results.score("tiny_more", "acc_norm").settings["few_shot"] == 2
        # The group has a score and no samples: it is left out of comparisons, its tasks are not.
        assert [task for task, _ in comparable(results, results)] == [
            "tiny_choice",
            "tiny_exact",
            "tiny_more",
        ]

    def test_a_group_of_groups_says_its_number_too(
        self, folder: Path, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        """As MMLU is one: leaderboards ask for it with five."""
        tasks, shots = ["tiny_outer", "tiny_default"], {"tiny_outer": 5}
        results = run(folder, tiny_llama, tmp_path, loaded, tasks=tasks, num_fewshot=shots)
        found = {score.task: score.settings["few_shot"] for score in results.scores}
        assert found == {
            "tiny_more": 5,
            "tiny_choice": 5,
            "tiny_default": 2,
            "tiny_inner": 5,
            "tiny_outer": 5,
        }

    def test_a_task_that_is_always_asked_without_is_refused(
        self, folder: Path, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        options = {"tasks": ["tiny_exact"], "num_fewshot": {"tiny_exact": 5}}
        with pytest.raises(RecipeError, match="tiny_exact is always asked without"):
            run(folder, tiny_llama, tmp_path, loaded, **options)

    @pytest.mark.parametrize(
        ("shots", "fault"),
        [
            ({"other": 5}, "'other' is not among the tasks"),
            ({"gsm8k": -1}, "a number from 0"),
            ("many", "a number from 0"),
            (-1, "a number from 0"),
        ],
    )
    def test_impossible_numbers(self, shots: Any, fault: str) -> None:
        with pytest.raises(ValidationError, match=fault) as caught:
            LmEvalTasks.Options(tasks=["gsm8k"], num_fewshot=shots)
        assert [error["loc"] for error in caught.value.errors()] == [("num_fewshot",)]


class TestData:
    """Files and datasets that decide a result."""

    def test_every_file_of_the_folder_counts(self, tmp_path: Path) -> None:
        suite = LmEvalTasks(LmEvalTasks.Options(tasks=["t"], include_path=str(tmp_path)))
        seen = [suite.data_digests()["include_path"]]
        (tmp_path / "below").mkdir()
        for name, text in [("t.yaml", "a"), ("t.yaml", "b"), ("below/helper.py", "a")]:
            (tmp_path / name).write_text(text)
            seen.append(suite.data_digests()["include_path"])
        (tmp_path / "below/helper.py").rename(tmp_path / "helper.py")
        seen.append(suite.data_digests()["include_path"])
        assert len(set(seen)) == 5
        (tmp_path / "__pycache__").mkdir()
        (tmp_path / "__pycache__/helper.pyc").write_text("compiled")
        assert suite.data_digests()["include_path"] == seen[-1]

    def test_the_pocket_folder_counts_and_no_folder_does_not(self, unplugged: None) -> None:
        pocket = LmEvalTasks(LmEvalTasks.Options(tasks=["pocket_exact"], include_path="pocket"))
        assert len(pocket.data_digests()["include_path"]) == 64
        assert set(pocket.data_digests()) == {"include_path"}
        own = LmEvalTasks(LmEvalTasks.Options(tasks=["arc_easy"]))
        assert own.data_digests() == {"dataset allenai/ai2_arc": "unknown"}

    @pytest.mark.parametrize("error", [ConnectionError, DatasetNotFoundError, OfflineModeIsEnabled])
    def test_an_unreachable_dataset(
        self,
        error: type[Exception],
        folder: Path,
        tiny_llama: Path,
        tmp_path: Path,
        loaded: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def unreachable(*args: Any, **kwargs: Any) -> Any:
            raise error("cannot reach the Hub\nlong story")

        monkeypatch.setattr("datasets.load_dataset", unreachable)
        with pytest.raises(
            PrerequisiteError, match=r"data of task tiny_choice .*the Hub$"
        ) as caught:
            run(folder, tiny_llama, tmp_path, loaded, tasks=["tiny_choice"])
        assert "network" in caught.value.hint

    def test_a_really_missing_file(
        self, folder: Path, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        lost = tmp_path / "tasks"
        lost.mkdir()
        files = {"train": lost / "no.jsonl", "test": lost / "no.jsonl"}
        (lost / "choice.yaml").write_text(CHOICE.format(**files))
        with pytest.raises(PrerequisiteError, match="data of task tiny_choice"):
            run(lost, tiny_llama, tmp_path, loaded, tasks=["tiny_choice"])


def test_a_missing_harness_is_a_requirement_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LmEvalTasks.requires == (("lm_eval", "eval"), ("datasets", "eval"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert LmEvalTasks(LmEvalTasks.Options(tasks=["nonsense"])).check() == []


class TestResults:
    """What a run leaves behind."""

    def test_scores(self, folder: Path, tiny_llama: Path, tmp_path: Path, loaded: Any) -> None:
        results = run(
            folder,
            tiny_llama,
            tmp_path,
            loaded,
            tasks=["tiny_group", "tiny_rolling"],
            num_fewshot=1,
            limit=7,
        )
        assert [(s.task, s.metric) for s in results.scores[:4]] == [
            ("tiny_choice", "acc_norm"),
            ("tiny_exact", "exact_match"),
            ("tiny_rolling", "word_perplexity"),
            ("tiny_group", "acc_norm"),
        ]
        choice = results.score("tiny_choice", "acc_norm")
        assert (choice.scale, choice.n, choice.missing) == ("percent", 7, 0)
        assert choice.ci_low is not None
        assert choice.ci_high is not None
        assert 0 <= choice.ci_low < choice.value < choice.ci_high <= 100
        assert choice.settings["few_shot"] == 1
        assert choice.settings["limit"] == 7
        assert choice.settings["task_version"] == "3.0"
        assert results.score("tiny_exact", "exact_match").settings["few_shot"] == 0
        assert results.score("tiny_exact", "exact_match").settings["temperature"] == 0.0
        assert results.score("tiny_exact", "exact_match,upper").settings["filter"] == "upper"
        group = results.score("tiny_group", "acc_norm")
        assert (group.value, group.n) == (choice.value, 7)
        assert group.stderr == pytest.approx(choice.stderr)
        rolling = results.score("tiny_rolling", "word_perplexity")
        assert (rolling.scale, rolling.stderr) == ("ratio", None)
        assert rolling.higher_is_better is False
        assert math.isfinite(rolling.value)
        found = [s.metrics["acc_norm"] for s in results.samples if s.task == "tiny_choice"]
        assert sum(found) / len(found) == pytest.approx(choice.value)

    def test_nothing_of_the_machine_is_kept(
        self, folder: Path, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        tasks = ["tiny_choice", "tiny_warm"]
        for name in ("one", "two"):
            results = run(folder, tiny_llama, tmp_path / name, loaded, tasks=tasks)
            (tmp_path / f"{name}.json").write_text(dumps(results))
        one, two = (tmp_path / name / RESULTS_FILE for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
        assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
        for text in (one.read_text(), (tmp_path / "one.json").read_text()):
            assert str(folder) not in text
            assert str(tiny_llama) not in text
        raw = json.loads(one.read_text())
        assert raw["configs"]["tiny_choice"]["dataset_kwargs"]["data_files"]["test"] == "test.jsonl"
        assert raw["config"]["model_name"] == "tiny"
        assert raw["lm_eval_version"]
        assert not {"date", "git_hash", "pretty_env_info"} & set(raw)

    def test_results_of_one_task_compare(
        self, folder: Path, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        results = run(folder, tiny_llama, tmp_path, loaded, tasks=["tiny_choice"])
        same = compare(results, results, "tiny_choice", "acc_norm", seed=0)
        assert (same.difference, same.ci_low, same.ci_high, same.p_value) == (0, 0, 0, 1)
        assert same.n == 10
        other = run(folder, tiny_llama, tmp_path, loaded, tasks=["tiny_choice"], num_fewshot=1)
        with pytest.raises(ScoreError, match="settings"):
            compare(results, other, "tiny_choice", "acc_norm", seed=0)

    def test_an_item_without_a_score_is_missing(self) -> None:
        rows = [self._row(i, value) for i, value in enumerate([1.0, math.nan, 0.0, 1.0])]
        (score,) = lm_eval_results.scores_of(self._results(rows), {})
        assert (score.n, score.missing) == (3, 1)
        assert score.value == pytest.approx(200 / 3)
        samples = lm_eval_results.samples_of(self._results(rows))
        assert [sample.metrics for sample in samples][:2] == [{"acc": 100.0}, {}]
        with pytest.raises(ScoreError, match="no acc"):
            lm_eval_results.scores_of(self._results([rows[1]]), {})

    def _row(self, identity: int, acc: float) -> dict[str, Any]:
        facts = {"target": 0, "arguments": [("p", "c")], "resps": [[(-1.0, True)]]}
        return {"doc_id": identity, "filter": "none", "acc": acc, **facts}

    def _results(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        mean = sum(row["acc"] for row in rows) / len(rows)
        return {
            "results": {"t": {"acc,none": mean, "acc_stderr,none": "N/A"}},
            "configs": {"t": {}},
            "samples": {"t": rows},
            **{key: {} for key in ("n-shot", "versions", "higher_is_better", "group_subtasks")},
        }


class TestRefusals:
    """What cannot be done is said, early."""

    @pytest.mark.slow
    def test_unknown_task(self, folder: Path) -> None:
        suite = LmEvalTasks(LmEvalTasks.Options(tasks=["tiny_chioce"], include_path=str(folder)))
        (problem,) = suite.check()
        assert "tiny_choice" in problem.hint

    def test_missing_folder(self) -> None:
        suite = LmEvalTasks(LmEvalTasks.Options(tasks=["a"], include_path="no/such/folder"))
        assert "no/such/folder" in suite.check()[0].message

    def test_model_without_template(self, folder: Path, tiny_llama: Path, tmp_path: Path) -> None:
        bare = load_model(tiny_llama, dtype="float32", device="cpu")
        bare.tokenizer.chat_template = None
        with pytest.raises(ScoreError, match="no chat template"):
            run(folder, tiny_llama, tmp_path, bare, tasks=["tiny_choice"], apply_chat_template=True)


def test_the_registry_finds_it() -> None:
    assert load("benchmarks", "lm-eval-tasks") is LmEvalTasks
