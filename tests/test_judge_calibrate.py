"""`evalkit judge calibrate` and `rank`: published outputs judged again over HTTP, cut off, resumed.

The scripted judge says what the official one has recorded, or something of its own.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import judge_server
import pytest
from judge_server import MODEL, JudgeServer, served

from evalkit.cli import main
from evalkit.fingerprint import fingerprint

INSTRUCTIONS = [f"Ask number {i}" for i in range(12)]
# By anchor: the official judge's preference of instruction i.
OFFICIAL: dict[str, Callable[[int], float]] = {
    "weak": lambda i: 1.1 + 0.01 * i,
    "middle": lambda i: 1.3 + 0.03 * i,
    "strong": lambda i: 1.6 + 0.03 * i,
}


def write_results(folder: Path) -> Path:
    """Result folders as alpaca_eval publishes them, and those of the baseline."""
    for name in ("base", *OFFICIAL):
        rows = [
            {"instruction": text, "output": f"{name} says {i}", "generator": name, "dataset": "own"}
            for i, text in enumerate(INSTRUCTIONS)
        ]
        (folder / name).mkdir(parents=True)
        (folder / name / "model_outputs.json").write_text(json.dumps(rows))
    for name, preference in OFFICIAL.items():
        judged: list[dict[str, Any]] = [
            {"instruction": text, "output_1": f"base says {i}", "generator_1": "base",
             "output_2": f"{name} says {i}", "generator_2": name,
             "annotator": "official", "preference": preference(i)}
            for i, text in enumerate(INSTRUCTIONS)
        ]  # fmt: skip
        (folder / name / "official").mkdir()
        (folder / name / "official" / "annotations.json").write_text(json.dumps(judged))
    return folder


def as_recorded(body: dict[str, Any]) -> Any:
    """The official judge over again: log-probabilities of its preference, in either order."""
    shown = body["messages"][-1]["content"]
    name = next(one for one in OFFICIAL if f"{one} says" in shown)
    number = int(shown.split(f"{name} says ")[1].split('"')[0])
    wins = OFFICIAL[name](number) - 1
    first = wins if shown.index(f"{name} says") < shown.index("base says") else 1 - wins
    return judge_server.choice("m", {"m": math.log(first), "M": math.log(1 - first)})


def words(results: Path, server: JudgeServer, out: Path, *more: str) -> list[str]:
    judge = f"llm:endpoint={server.url},model={MODEL},backoff_s=0.01"
    anchors = [str(results / name) for name in OFFICIAL]
    return ["judge", "calibrate", *anchors, "--baseline", str(results / "base"),
            "--judge", judge, "--out", str(out), *more]  # fmt: skip


def run(*given: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(given))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def figures(out: Path) -> Any:
    return json.loads((out / "calibration.json").read_text())


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results")


def test_the_official_judge_itself_is_found_to_agree(results: Path, tmp_path: Path) -> None:
    with served(script=as_recorded) as server:
        assert run(*words(results, server, tmp_path / "out")) == 0
        assert len(server.bodies) == 36
    found = figures(tmp_path / "out")
    assert found["spearman"]["value"] == found["kendall"]["value"] == 1
    assert found["kappa"]["value"] == found["agreement"]["value"] == 1
    assert found["offset"]["value"] == pytest.approx(0, abs=1e-9)
    assert found["official_judge"] == "official"
    assert found["judge"]["model"] == MODEL
    assert found["judge_digest"] == fingerprint(found["judge"])
    assert found["length_controlled"] is None
    assert any("not all of AlpacaEval's own instructions" in note for note in found["notes"])
    for row, preference in zip(found["anchors"], OFFICIAL.values(), strict=True):
        assert row["length_controlled_winrate"] is None
        assert row["agreement"]["value"] == 1
        assert row["agreement"]["ci_low"] < 1
        mean = 100 * sum(preference(i) - 1 for i in range(12)) / 12
        assert row["win_rate"]["value"] == pytest.approx(mean)
        assert row["official_win_rate"] == pytest.approx(mean)
        assert (row["n"], row["missing"]) == (12, 0)


def test_another_judge_is_not(results: Path, tmp_path: Path) -> None:
    with served() as server:
        assert run(*words(results, server, tmp_path / "out")) == 0
    found = figures(tmp_path / "out")
    assert found["agreement"]["value"] < 0.9
    assert found["kappa"]["ci_low"] < found["kappa"]["value"] < found["kappa"]["ci_high"]
    shift = sum(one["win_rate"]["value"] - one["official_win_rate"] for one in found["anchors"]) / 3
    assert found["offset"]["value"] == pytest.approx(shift)


def test_cut_off_it_goes_on_and_ends_as_if_nothing_had_been(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served() as server:
        assert run(*words(results, server, tmp_path / "whole")) == 0
        whole = server.answered
    answered = Counter[str]()
    for broken in (7, 20):
        with served(faults=[None] * broken, always="quota") as server:
            assert run(*words(results, server, tmp_path / "broken")) == 1
            answered += server.answered
    with served() as server:
        capsys.readouterr()
        assert run(*words(results, server, tmp_path / "broken", "--dry-run", "--json")) == 0
        plan = json.loads(capsys.readouterr().out)
        assert (plan["judgements"], plan["kept"]) == (36, 27)
        assert plan["cost_of_the_rest"]["requests"] == 9
        assert server.bodies == []
        assert run(*words(results, server, tmp_path / "broken")) == 0
        answered += server.answered
    assert answered == whole
    for file in sorted((tmp_path / "whole").rglob("*.json")):
        again = tmp_path / "broken" / file.relative_to(tmp_path / "whole")
        assert again.read_text() == file.read_text()


def test_annotations_are_alpaca_eval_s_own(results: Path, tmp_path: Path) -> None:
    """They can be scored, imported, and used as another calibration's official side."""
    from evalkit.importers.alpaca_eval import AlpacaEvalImporter

    with served(script=as_recorded) as server:
        assert run(*words(results, server, tmp_path / "out")) == 0
        (file,) = (tmp_path / "out" / "strong").glob("*/annotations.json")
        imported = AlpacaEvalImporter(AlpacaEvalImporter.Options())
        assert imported.recognises(file)
        (one,) = imported.read(file)
        assert one.model == "strong"
        before = figures(tmp_path / "out")
        own = ["--official", str(tmp_path / "out")]
        assert run(*words(results, server, tmp_path / "again", *own)) == 0
    assert figures(tmp_path / "again")["kappa"]["value"] == 1
    assert figures(tmp_path / "again")["official_judge"] == before["annotator"]


def test_a_leaderboard_is_an_official_side(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "leaderboard.csv"
    file.write_text(",win_rate,avg_length\nweak,10.5,3\nmiddle,40,3\nstrong,80,3\nother,99,3\n")
    with served(script=as_recorded) as server:
        assert run(*words(results, server, tmp_path / "out", "--official", str(file))) == 0
    found = figures(tmp_path / "out")
    assert [one["official_win_rate"] for one in found["anchors"]] == [10.5, 40, 80]
    assert found["spearman"]["value"] == 1
    assert found["kappa"] is None
    assert any("known by their official win rate alone" in note for note in found["notes"])


def test_part_of_the_instructions(results: Path, tmp_path: Path) -> None:
    with served(script=as_recorded) as server:
        assert run(*words(results, server, tmp_path / "out", "--limit", "5")) == 0
        assert len(server.bodies) == 15
        assert run(*words(results, server, tmp_path / "out")) == 0
        assert len(server.bodies) == 36  # what was judged is not judged again


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (["--baseline", "results"], "holds 4 models", "own folder"),
        (["results/weak"], "anchor weak is given twice", "leave one"),
        (["nothing"], "there are no model_outputs.json in", "results/MODEL"),
        (["--official", "empty.csv"], "has no column 'win_rate'", "alpaca_eval's own"),
        (["--official", "other.csv"], "no official judgement or figure of anchor middle, strong",
         "leaderboard"),
        (["--judge", "llm:endpoint=http://127.0.0.1:1/v1,model=x"], "cannot be reached", ""),
        (["--judge", "rule"], "rule", ""),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_before_anything_is_asked(
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    message: str,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "empty.csv").write_text("model,elo\nweak,3\n")
    (tmp_path / "other.csv").write_text("model,win_rate\nweak,3\n")
    with served() as server:
        code = run(*words(results, server, tmp_path / "out"), *change)
        assert server.bodies == []
    said = capsys.readouterr().err
    assert code == 1
    assert message in said
    assert hint in said


def test_one_official_judge_is_meant(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not two below one anchor, and not one for this anchor and another for that."""
    rows = json.loads((results / "weak" / "official" / "annotations.json").read_text())
    other = results / "weak" / "other" / "annotations.json"
    other.parent.mkdir()
    other.write_text(json.dumps([{**row, "annotator": "other"} for row in rows]))
    with served() as server:
        assert run(*words(results, server, tmp_path / "out")) == 1
        assert "there are official judgements of weak already" in capsys.readouterr().err
        (results / "weak" / "official" / "annotations.json").unlink()
        assert run(*words(results, server, tmp_path / "out")) == 1
        assert "of several annotators: official, other" in capsys.readouterr().err
        assert server.bodies == []


class TestRank:
    def result(self, run_folder: Path, calibration: Any, **changes: Any) -> None:
        """A finished run's result on disk, as the benchmark leaves it."""
        value = {
            "benchmark": "alpaca_eval",
            "checkpoint": "iter2",
            "scores": [
                {"metric": "win_rate", "value": 50.0, "stderr": 1.0, "ci_low": 48.0,
                 "ci_high": 52.0, "n": 12, "missing": 0}
            ],
            "provenance": {
                "judge": calibration["judge"],
                "judge_digest": calibration["judge_digest"],
                "data": {"baseline": "base", "baseline_digest": calibration["baseline_digest"]},
                **changes,
            },
        }  # fmt: skip
        step = run_folder / "steps" / "eval-iter2-alpaca_eval"
        step.mkdir(parents=True)
        (step / "result.json").write_text(json.dumps(value))

    @pytest.fixture
    def calibrated(self, results: Path, tmp_path: Path) -> Path:
        with served(script=as_recorded) as server:
            assert run(*words(results, server, tmp_path / "out")) == 0
        return tmp_path / "out"

    def test_a_model_stands_among_its_anchors(
        self, calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.result(tmp_path / "mine", figures(calibrated))
        capsys.readouterr()
        assert run("judge", "rank", str(calibrated), str(tmp_path / "mine"), "--json") == 0
        found = json.loads(capsys.readouterr().out)
        names = [one["model"] for one in found["models"]]
        assert names == ["strong", "mine:iter2", "middle", "weak"]
        assert found["models"][1]["official_win_rate"] is None
        assert run("judge", "rank", str(calibrated), str(tmp_path / "mine")) == 0
        shown = capsys.readouterr().out
        assert f"by {found['annotator']}" in shown
        assert "do not compare" in shown

    def test_it_stands_by_its_length_controlled_rate_where_all_have_one(
        self, calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Computed with the same auxiliary data; with other data it is another number."""
        found = figures(calibrated)
        limits = {"stderr": 1.0, "ci_low": 1.0, "ci_high": 99.0}
        for one, rate in zip(found["anchors"], (70.0, 20.0, 40.0), strict=True):
            one["length_controlled_winrate"] = {"value": rate, **limits}
            one["official_length_controlled_winrate"] = rate + 1
        found["length_controlled"] = {"auxiliary_data_sha256": {"df_gamed.csv": "d"}}
        (calibrated / "calibration.json").write_text(json.dumps(found))
        control = {"auxiliary_data_sha256": {"df_gamed.csv": "d"}, "C": 2.8}
        self.result(tmp_path / "mine", found, length_controlled_winrate=control)
        file = tmp_path / "mine" / "steps" / "eval-iter2-alpaca_eval" / "result.json"
        result = json.loads(file.read_text())
        rate = {**result["scores"][0], "metric": "length_controlled_winrate", "value": 55.0}
        result["scores"].append(rate)
        file.write_text(json.dumps(result))
        words = ["judge", "rank", str(calibrated), str(tmp_path / "mine")]
        capsys.readouterr()
        assert run(*words, "--json") == 0
        models = json.loads(capsys.readouterr().out)["models"]
        assert [one["model"] for one in models] == ["weak", "mine:iter2", "strong", "middle"]
        assert models[1]["length_controlled_winrate"]["value"] == 55
        assert models[1]["official_length_controlled_winrate"] is None
        assert run(*words) == 0
        shown = capsys.readouterr().out
        assert "length-controlled win rate [95 %]" in shown
        assert "71.00" in shown
        result["provenance"]["length_controlled_winrate"]["auxiliary_data_sha256"] = {"x": "y"}
        file.write_text(json.dumps(result))
        assert run(*words, "--json") == 0
        models = json.loads(capsys.readouterr().out)["models"]
        assert [one["model"] for one in models] == ["strong", "mine:iter2", "middle", "weak"]
        assert models[1]["length_controlled_winrate"] is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"judge_digest": "other", "judge": {"model": "gpt-4"}}, "another judge"),
            ({"data": {"baseline": "base", "baseline_digest": "x"}}, "another baseline"),
        ],
    )
    def test_another_judge_or_baseline_is_refused(
        self,
        calibrated: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        change: dict[str, Any],
        message: str,
    ) -> None:
        self.result(tmp_path / "mine", figures(calibrated), **change)
        assert run("judge", "rank", str(calibrated), str(tmp_path / "mine")) == 1
        assert message in capsys.readouterr().err


def test_published_outputs(shared: Path, tmp_path: Path) -> None:
    """Real outputs and real recorded preferences: a judge that repeats these agrees in all."""
    raw, names = shared / "golden" / "alpaca_raw", ("phi-2", "gemma-2b-it")
    recorded = [
        row
        for name in names
        for row in json.loads(
            (raw / name / "weighted_alpaca_eval_gpt4_turbo" / "annotations.json").read_text()
        )
    ]

    def repeated(body: dict[str, Any]) -> Any:
        shown = body["messages"][-1]["content"]
        row, place, other = next(
            (row, shown.find(_marked(row["output_2"])), shown.find(_marked(row["output_1"])))
            for row in recorded
            if _marked(row["output_2"]) in shown and f'"""{row["instruction"]}"""' in shown
        )
        wins = min(max(row["preference"] - 1, 1e-9), 1 - 1e-9)
        first = wins if place < other else 1 - wins
        return judge_server.choice("m", {"m": math.log(first), "M": math.log(1 - first)})

    with served(script=repeated) as server:
        given = [
            "judge",
            "calibrate",
            *(str(raw / name) for name in names),
            "--baseline",
            str(raw / "gpt4_1106_preview"),
            "--limit",
            "40",
            "--judge",
            f"llm:endpoint={server.url},model={MODEL}",
            "--official",
            str(shared / "golden" / "alpaca"),
            "--out",
            str(tmp_path / "out"),
        ]
        assert run(*given) == 0
    found = figures(tmp_path / "out")
    assert found["agreement"]["value"] == 1
    assert found["offset"]["value"] == pytest.approx(0, abs=1e-4)


def _marked(output: str) -> str:
    """An output as the judge's prompt has it."""
    return f'"output": """{output}"""'
