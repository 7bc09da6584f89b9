"""Importers of leaderboards and logs: alpaca_eval's CSV, inspect_ai, the Open LLM Leaderboard."""

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
from test_importers import read_one, write

from evalkit import registry
from evalkit.errors import RecipeError
from evalkit.importers.inspect_ai_log import number_of
from evalkit.records import dumps
from evalkit.roles import Importer
from evalkit.stats import stated_interval, wilson_interval

HEADER = (
    ",win_rate,standard_error,n_wins,n_wins_base,n_draws,n_total,discrete_win_rate,mode,"
    "avg_length,length_controlled_winrate,lc_standard_error"
)
ROW = "mine,48.25,1.5,386,418,1,805,48.01,community,1803,53.96,0.65"


def importer(name: str) -> Importer:
    plugin: Importer = registry.load("importers", name)(None)
    return plugin


class TestAlpacaEvalLeaderboard:
    """A row is a model; the judge is told by the file's place alone."""

    def _file(self, tmp_path: Path, *rows: str, place: str = "") -> Path:
        place = place or "data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([HEADER, *rows]) + "\n")
        return file

    def test_a_row(self, tmp_path: Path) -> None:
        model, result = read_one("alpaca_eval_leaderboard", self._file(tmp_path, ROW))
        rate, controlled, length = result.scores
        assert model == "mine"
        assert (rate.task, rate.metric, rate.value, rate.n) == (
            "alpaca_eval",
            "win_rate",
            48.25,
            805,
        )
        expected = stated_interval(48.25, 1.5, 805)
        assert (rate.stderr, rate.ci_low, rate.ci_high) == (1.5, expected.low, expected.high)
        assert (controlled.value, controlled.stderr, controlled.ci_low) == (53.96, None, None)
        assert (length.metric, length.value, length.scale) == ("avg_length", 1803.0, "count")
        assert rate.settings == {"baseline": "gpt4_1106_preview"}
        assert result.provenance["judge"] == {"name": "weighted_alpaca_eval_gpt4_turbo"}
        assert result.provenance["published"]["lc_standard_error"] == 0.65

    @pytest.mark.parametrize(
        ("place", "task", "unknown"),
        [
            ("mine/some_judge/leaderboard.csv", "alpaca_eval_by_some_judge", "baseline"),
            ("data_AlpacaEval/claude_leaderboard.csv", "alpaca_eval_by_claude", None),
            ("x/numbers.csv", "alpaca_eval_judge_not_stated", "judge, baseline"),
        ],
    )
    def test_judges_do_not_share_a_task(
        self, tmp_path: Path, place: str, task: str, unknown: str | None
    ) -> None:
        result = read_one("alpaca_eval_leaderboard", self._file(tmp_path, ROW, place=place)).result
        assert {score.task for score in result.scores} == {task}
        assert result.provenance.get("not_stated") == unknown

    def test_older_boards_have_no_length_controlled_rate(self, tmp_path: Path) -> None:
        file = tmp_path / "a" / "leaderboard.csv"
        write(file, "")
        file.write_text(",win_rate,standard_error,n_total\nmine,50.0,,805.0\n")
        scores = read_one("alpaca_eval_leaderboard", file).result.scores
        assert [(s.metric, s.value, s.stderr, s.n) for s in scores] == [("win_rate", 50, None, 805)]

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            (ROW.rpartition(",")[0], r"\.csv:2 has 11 cells, not 12"),
            (ROW.replace("48.25", "much"), "'win_rate' is 'much'"),
            (ROW.replace("48.25", "nan"), "'win_rate' is nan"),
            (ROW.replace("48.25", ""), "has no win_rate"),
            (ROW.replace("805", "0"), "'0' is no number of instructions"),
            (ROW.replace("805", "80.5"), "'80.5' is no number of instructions"),
            (ROW.replace("mine", " "), "names no model"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, row: str, said: str) -> None:
        with pytest.raises(RecipeError, match=said):
            importer("alpaca_eval_leaderboard").read(self._file(tmp_path, row))

    def test_every_published_board(self) -> None:
        package = pytest.importorskip("alpaca_eval")
        files = sorted(Path(package.__file__).parent.glob("leaderboards/data_*/*.csv"))
        found = {one.model: one.result for file in files
                 for one in importer("alpaca_eval_leaderboard").read(file)}  # fmt: skip
        assert (len(files) >= 9, len(found) > 200) == (True, True)
        gemma = found["SPPO-Gemma-2-9B-It-PairRM"]
        assert round(gemma.score("alpaca_eval", "length_controlled_winrate").value, 2) == 53.97
        others = [
            path for path in Path(package.__file__).parent.rglob("*.csv") if path not in files
        ]
        assert not any(importer("alpaca_eval_leaderboard").recognises(path) for path in others)


def log(**changes: Any) -> dict[str, Any]:
    """A log as inspect_ai writes it: four items, three of them right."""
    p = 0.75
    value: dict[str, Any] = {
        "version": 2,
        "status": "success",
        "eval": {
            "created": "2026-01-02T03:04:05+00:00", "task": "arc", "task_version": 1,
            "task_args": {"fewshot": 5}, "model": "hf/org/model",
            "dataset": {"name": "arc", "location": "/home/me/arc", "samples": 4},
            "config": {"limit": 4, "epochs": 1, "epochs_reducer": ["mean"]},
            "packages": {"inspect_ai": "0.3.100"},
            "revision": {"type": "git", "origin": "x", "commit": "abc1234", "dirty": True},
        },
        "plan": {"name": "plan", "steps": [], "config": {"temperature": 0.0}},
        "results": {
            "total_samples": 4, "completed_samples": 4,
            "scores": [{"name": "choice", "scorer": "choice", "params": {}, "metrics": {
                "accuracy": {"name": "accuracy", "value": p},
                "stderr": {"name": "stderr", "value": math.sqrt(p * (1 - p) / 3)},
            }}],
        },
        "samples": [
            {"id": i, "epoch": 1, "input": "q", "target": "A",
             "scores": {"choice": {"value": "C" if i < 4 else "I"}}}
            for i in (1, 2, 3, 4)
        ],
    }  # fmt: skip
    return {**value, **changes}


def packed(file: Path, value: dict[str, Any]) -> Path:
    """The same log as `.eval`."""
    header = {key: item for key, item in value.items() if key not in ("samples", "reductions")}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", "{}")
        archive.writestr("header.json", json.dumps(header))
        if "reductions" in value:
            archive.writestr("reductions.json", json.dumps(value["reductions"]))
        for sample in value.get("samples", ()):
            name = f"samples/{sample['id']}_epoch_{sample['epoch']}.json"
            archive.writestr(name, json.dumps(sample))
    return file


class TestInspectAi:
    """Both forms of a log give the same."""

    @pytest.mark.parametrize("form", ["json", "eval"])
    def test_a_log(self, tmp_path: Path, form: str) -> None:
        file = tmp_path / f"log.{form}"
        file = packed(file, log()) if form == "eval" else write(file, log())
        model, result = read_one("inspect_ai", file)
        (score,) = result.scores
        expected = wilson_interval(3, 4).scaled(100)
        assert model == "hf/org/model"
        assert (score.task, score.metric, score.value, score.n) == ("arc", "accuracy", 75.0, 4)
        assert (score.ci_low, score.ci_high) == (expected.low, expected.high)
        assert score.settings == {
            "harness": "inspect_ai 0.3.100", "task_version": "1", "few_shot": 5, "limit": 4,
            "temperature": 0.0, "scorer": "choice",
        }  # fmt: skip
        assert {s.id: s.metrics["accuracy"] for s in result.samples} == {
            "1": 100.0, "2": 100.0, "3": 100.0, "4": 0.0,
        }  # fmt: skip
        assert result.provenance["revision"] == "abc1234 with uncommitted changes"
        assert "/home/me" not in dumps(result)

    def test_epochs_are_one_item(self, tmp_path: Path) -> None:
        value = log()
        value["eval"]["config"]["epochs"] = 2
        value["results"] |= {"total_samples": 8, "completed_samples": 8}
        value["samples"] += [{**one, "epoch": 2, "scores": {"choice": {"value": "I"}}}
                             for one in value["samples"]]  # fmt: skip
        result = read_one("inspect_ai", write(tmp_path / "l.json", value)).result
        assert result.scores[0].n == 4
        assert result.scores[0].settings["epochs"] == 2
        assert [one.metrics["accuracy"] for one in result.samples] == [50, 50, 50, 0]

    def test_reductions_go_before_samples(self, tmp_path: Path) -> None:
        reduced = [{"sample_id": i, "value": 1.0} for i in (1, 2, 3)] + [
            {"sample_id": 4, "value": 0}
        ]
        value = log(samples=[], reductions=[{"scorer": "choice", "samples": reduced}])
        result = read_one("inspect_ai", packed(tmp_path / "l.eval", value)).result
        assert [one.metrics["accuracy"] for one in result.samples] == [100, 100, 100, 0]
        assert result.scores[0].n == 4

    def test_several_scorers_are_told_apart(self, tmp_path: Path) -> None:
        value = log()
        first = value["results"]["scores"][0]
        value["results"]["scores"].append({**first, "name": "match", "scorer": "match"})
        result = read_one("inspect_ai", write(tmp_path / "l.json", value)).result
        assert [s.metric for s in result.scores] == ["accuracy,choice", "accuracy,match"]

    def test_missing_items_are_counted(self, tmp_path: Path) -> None:
        value = log()
        value["results"]["scores"][0] |= {"scored_samples": 3, "unscored_samples": 1}
        (score,) = read_one("inspect_ai", write(tmp_path / "l.json", value)).result.scores
        assert (score.n, score.missing) == (3, 1)

    @pytest.mark.parametrize(
        ("params", "roles", "judge"),
        [({"model": "openai/gpt-4o"}, {}, "openai/gpt-4o"),
         ({}, {"grader": {"model": "x/grader"}}, "x/grader"),
         ({}, {}, "hf/org/model (itself)")],
    )  # fmt: skip
    def test_a_model_that_grades_is_the_judge(
        self, tmp_path: Path, params: Any, roles: Any, judge: str
    ) -> None:
        value = log()
        value["eval"]["model_roles"] = roles
        value["results"]["scores"][0] |= {
            "name": "model_graded_qa", "scorer": "model_graded_qa", "params": params,
        }  # fmt: skip
        provenance = read_one("inspect_ai", write(tmp_path / "l.json", value)).result.provenance
        assert provenance["judge"] == {"name": "model_graded_qa", "model": judge}

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"status": "cancelled"}, "did not finish .status 'cancelled' after 4 samples"),
            ({"status": "error", "results": None}, "did not finish .status 'error'"),
            ({"invalidated": True}, "marked invalid"),
            ({"results": {"scores": []}}, "holds no scores"),
            (
                {"results": {"scores": [{"name": "choice"}]}},
                "a scorer of its results has no metrics",
            ),
            ({"eval": {"task": "arc"}}, "'eval' names no model"),
            ({"samples": {}}, "samples: this is no list"),
            ({"samples": ["one"]}, "one is no object with named values"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, change: Any, said: str) -> None:
        with pytest.raises(RecipeError, match=said):
            importer("inspect_ai").read(write(tmp_path / "l.json", log(**change)))

    def test_numbers_that_are_not_finite_are_no_scores(self, tmp_path: Path) -> None:
        value = log()
        value["results"]["scores"][0]["metrics"]["accuracy"]["value"] = math.nan
        with pytest.raises(RecipeError, match="none of its metrics is a finite number"):
            importer("inspect_ai").read(write(tmp_path / "l.json", value))

    def test_damaged_archives(self, tmp_path: Path) -> None:
        file = packed(tmp_path / "l.eval", log())
        whole = file.read_bytes()
        damaged = bytearray(whole)
        at = whole.index(b"header.json") + len("header.json") + 5
        damaged[at : at + 8] = b"\0" * 8
        file.write_bytes(bytes(damaged))
        with pytest.raises(RecipeError, match=r"cannot read .*l\.eval"):
            importer("inspect_ai").read(file)
        file.write_bytes(whole[:-30])
        assert not importer("inspect_ai").recognises(file)
        with pytest.raises(RecipeError, match=r"cannot read .*l\.eval"):
            importer("inspect_ai").read(file)

    def test_an_archive_without_header_did_not_finish(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "l.eval", "w") as archive:
            archive.writestr("_journal/start.json", "{}")
        with pytest.raises(RecipeError, match=r"no header\.json: the evaluation did not finish"):
            importer("inspect_ai").read(tmp_path / "l.eval")

    @pytest.mark.parametrize(
        ("value", "number"),
        [("C", 1.0), ("P", 0.5), ("I", 0.0), ("N", 0.0), ("Yes", 1.0), ("false", 0.0), (True, 1.0),
         (0.25, 0.25), ("0.5", 0.5), ("nan", None), (math.inf, None), ([1], None), ("?", None)],
    )  # fmt: skip
    def test_values_of_samples(self, value: Any, number: float | None) -> None:
        assert number_of(value) == number


def leaderboard_file(**changes: Any) -> dict[str, Any]:
    """A results file as the first Open LLM Leaderboard wrote it."""
    arc = math.sqrt(0.25 * 0.75 / 1171)
    value: dict[str, Any] = {
        "config_general": {"model_name": "org/model", "model_sha": "abc", "lighteval_sha": "def",
                           "model_dtype": "torch.float16", "max_samples": None},
        "results": {
            "harness|arc:challenge|25": {"acc": 0.2, "acc_stderr": 0.01, "acc_norm": 0.25,
                                         "acc_norm_stderr": arc},
            "harness|hendrycksTest-anatomy|5": {"acc": 0.6, "acc_stderr": 0.04},
            "harness|truthfulqa:mc|0": {"mc1": 0.3, "mc1_stderr": 0.01, "mc2": 0.45,
                                        "mc2_stderr": 0.015},
            "harness|gsm8k|5": {"acc": 0.0, "acc_stderr": 0.0},
            "all": {"acc": 0.5},
        },
        "versions": {"all": 0, "harness|arc:challenge|25": 0},
    }  # fmt: skip
    return {**value, **changes}


ROW_V2 = {
    "eval_name": "org_model_bfloat16", "Precision": "bfloat16", "fullname": "org/model",
    "Model sha": "abc", "Average ⬆️": 23.305, "Chat Template": True,
    "IFEval": 68.28, "IFEval Raw": 0.6828, "BBH": 29.74, "MATH Lvl 5": 7.33, "GPQA": 2.01,
    "MUSR": 3.09, "MMLU-PRO": 29.38,
}  # fmt: skip


class TestOpenLlmLeaderboard:
    """Both versions, by the names under which leaderboards here show their tasks."""

    def test_a_results_file(self, tmp_path: Path) -> None:
        file = write(tmp_path / "results_2023.json", leaderboard_file())
        model, result = read_one("open_llm_leaderboard", file)
        assert model == "org/model"
        found = {(s.task, s.metric): s for s in result.scores}
        assert set(found) == {
            ("arc_challenge", "acc"), ("arc_challenge", "acc_norm"), ("mmlu_anatomy", "acc"),
            ("truthfulqa_mc1", "acc"), ("truthfulqa_mc2", "acc"), ("gsm8k", "exact_match"),
        }  # fmt: skip
        arc = found["arc_challenge", "acc_norm"]
        assert (arc.value, arc.n) == (25.0, 1172)
        assert (arc.settings["few_shot"], arc.settings["chat_template"]) == (25, False)
        assert found["truthfulqa_mc2", "acc"].n is None
        assert found["truthfulqa_mc2", "acc"].ci_high == pytest.approx(45 + 1.5 * 1.959964)
        assert found["gsm8k", "exact_match"].settings["filter"] == "strict-match"
        assert result.provenance["model_sha"] == "abc"

    @pytest.mark.parametrize("name", ["contents.json", "contents.jsonl", "contents.csv"])
    def test_rows_of_the_second_version(self, tmp_path: Path, name: str) -> None:
        file = tmp_path / name
        if name.endswith("csv"):
            cells = ",".join(map(str, ROW_V2.values()))
            file.write_text(f"{','.join(ROW_V2)}\n{cells}\n")
        else:
            write(file, [ROW_V2])
        model, result = read_one("open_llm_leaderboard", file)
        assert model == "org/model"
        assert {s.task: s.value for s in result.scores} == {
            "leaderboard_ifeval": 68.28, "leaderboard_bbh": 29.74, "leaderboard_math_hard": 7.33,
            "leaderboard_gpqa": 2.01, "leaderboard_musr": 3.09, "leaderboard_mmlu_pro": 29.38,
        }  # fmt: skip
        assert all(score.n is None for score in result.scores)
        assert result.provenance["average"] == "23.305"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"config_general": {}}, "names no model"),
            ({"results": {"harness|gsm8k|5": {}}}, "no number can be taken from it"),
            ({"results": {"harness|gsm8k|5": 0.5}}, "'harness.gsm8k.5' holds no numbers"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, change: Any, said: str) -> None:
        file = write(tmp_path / "r.json", leaderboard_file(**change))
        with pytest.raises(RecipeError, match=said):
            importer("open_llm_leaderboard").read(file)

    @pytest.mark.parametrize(
        ("change", "said"),
        [({"BBH": "high"}, "row 1: 'BBH' is 'high'"), ({"fullname": ""}, "row 1 names no model"),
         ({"GPQA": math.nan}, "row 1: 'GPQA' is nan"),
         ({k: None for k in ROW_V2 if k != "fullname"}, "org/model has no number")],
    )  # fmt: skip
    def test_rows_that_are_wrong(self, tmp_path: Path, change: Any, said: str) -> None:
        with pytest.raises(RecipeError, match=said):
            importer("open_llm_leaderboard").read(
                write(tmp_path / "r.jsonl", [{**ROW_V2, **change}])
            )

    def test_a_cut_off_file_is_told(self, tmp_path: Path) -> None:
        file = write(tmp_path / "r.json", leaderboard_file())
        file.write_text(file.read_text()[:-5])
        with pytest.raises(RecipeError, match="not valid JSON"):
            importer("open_llm_leaderboard").read(file)


def match(question: int, first: str, second: str, **changes: Any) -> dict[str, Any]:
    """A row as FastChat writes it."""
    return {"question_id": question, "model_1": "mine", "model_2": "other", "g1_winner": first,
            "g2_winner": second, "judge": ["gpt-4", "pair-v2"], "turn": 1, **changes}  # fmt: skip


class TestMtBenchPairs:
    """Win rates of each player, failed games counted and never scored."""

    ROWS = (
        match(81, "model_1", "model_1"), match(82, "model_1", "model_2"),
        match(83, "model_2", "model_2"), match(84, "error", "model_1"),
    )  # fmt: skip

    def test_both_players(self, tmp_path: Path) -> None:
        file = write(tmp_path / "gpt-4_pair.jsonl", list(self.ROWS))
        found = {one.model: one.result for one in importer("mt_bench_pairs").read(file)}
        assert set(found) == {"mine", "other"}
        for result in found.values():
            rate = result.score("mt_bench_pairwise", "win_rate_adjusted")
            assert (rate.value, rate.n, rate.missing) == (50.0, 3, 1)
            assert result.score("mt_bench_pairwise", "n_inconsistent").value == 1
            assert result.provenance["judge"] == {"name": "gpt-4", "prompts": ["pair-v2"]}
        assert found["mine"].scores[0].settings == {"opponents": ["other"]}
        assert [one.metrics["win_rate_adjusted"] for one in found["other"].samples] == [0, 50, 100]

    def test_of_several_models_each_has_its_own_opponents(self, tmp_path: Path) -> None:
        rows = [*self.ROWS, match(81, "model_2", "model_2", model_1="other", model_2="third")]
        found = dict(importer("mt_bench_pairs").read(write(tmp_path / "pair.jsonl", rows)))
        assert found["mine"].scores[0].settings == {"opponents": ["other"]}
        assert found["other"].scores[0].settings == {"opponents": ["mine", "third"]}
        assert [one.id for one in found["third"].samples] == ["81"]

    def test_nothing_judged(self, tmp_path: Path) -> None:
        file = write(tmp_path / "gpt-4_pair.jsonl", [match(81, "error", "error")])
        with pytest.raises(RecipeError, match="all 1 matches failed"):
            importer("mt_bench_pairs").read(file)

    @pytest.mark.real
    def test_real_matches_give_the_numbers_of_scoring_them(self, shared: Path) -> None:
        from evalkit.fastchat.scores import recorded_scores

        for file in sorted((shared / "golden" / "mtbench").glob("*pairwise*.jsonl.gz")):
            expected = recorded_scores([file])["pairwise"]["models"]
            for model, result in importer("mt_bench_pairs").read(file):
                for name in ("win_rate", "loss_rate", "win_rate_adjusted"):
                    score = result.score("mt_bench_pairwise", name)
                    assert score.value == expected[model][name]
                    assert score.n == expected[model]["n"]


@pytest.mark.real
def test_every_file_of_the_harness_is_imported_by_one_reader_alone(shared: Path) -> None:
    """Layouts 0.3 and 0.4: each number is there, with its count of items or openly without."""
    files = sorted((shared / "golden" / "lm_eval").glob("*.json"))
    unknown = 0
    for file in files:
        (found,) = importer("lm_eval").read(file)
        assert [n for n in registry.names("importers") if importer(n).recognises(file)] == [
            "lm_eval"
        ]
        unknown += sum(score.n is None for score in found.result.scores)
        assert all(score.n is None or score.n > 0 for score in found.result.scores)
    assert (len(files) > 50, unknown > 50) == (True, True)


@pytest.mark.real
def test_folders_of_alpaca_eval_are_imported(shared: Path) -> None:
    folder = shared / "golden" / "alpaca_raw"
    for file in sorted(folder.rglob("annotations.json")):
        assert [n for n in registry.names("importers") if importer(n).recognises(file)] == [
            "alpaca_eval"
        ]
        (found,) = importer("alpaca_eval").read(file)
        assert found.result.score("alpaca_eval", "win_rate").n >= 800  # type: ignore[operator]
