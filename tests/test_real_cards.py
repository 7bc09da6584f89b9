"""Real results of others: recorded judgements and harness files give the published numbers."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from lint_parts import errors_of

from evalkit import frontmatter, registry
from evalkit.cli import main
from evalkit.pipeline.exporting import families_of
from evalkit.records import ResultSet
from evalkit.roles import Importer
from evalkit.tables import export_leaderboard

pytestmark = pytest.mark.real

EXACT = dict(rel=0, abs=1e-6)


@pytest.fixture(scope="module")
def gold(shared: Path) -> Path:
    """The folder of recorded results."""
    return shared / "golden"


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def ended(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return int(caught.value.code or 0)


def importer(name: str) -> Importer:
    plugin: Importer = registry.load("importers", name)(None)
    return plugin


def test_one_leaderboard_has_the_published_win_rates(gold: Path, tmp_path: Path) -> None:
    """Win rates, standard errors and lengths of twelve models judged by GPT-4 Turbo."""
    assert ended("leaderboard", "export", gold / "alpaca", "--out", tmp_path) == 0
    found = {row["model"]: row for row in table(tmp_path / "alpaca_eval.csv")}
    expected = table(gold / "alpaca" / "expected.csv")
    assert len(expected) == len(found) == 12
    for row in expected:
        mine = found[row["model"]]
        win_rate, length = "AlpacaEval: win rate", "Average length in characters"
        assert float(mine[f"{win_rate} value"]) == pytest.approx(float(row["win_rate"]), **EXACT)
        error = float(mine[f"{win_rate} stderr"])
        assert error == pytest.approx(float(row["standard_error"]), **EXACT)
        assert mine[f"{win_rate} n"] == row["n_total"]
        # alpaca_eval takes the mean over all 805 outputs, also where two were not judged.
        slack = 2 if int(row["n_total"]) < 805 else 0
        assert abs(float(mine[f"{length} value"]) - int(row["avg_length"])) <= slack
    rates = [float(row["AlpacaEval: win rate value"]) for row in found.values()]
    assert rates == sorted(rates, reverse=True)
    notes = json.loads((tmp_path / "alpaca_eval.json").read_text())["notes"]
    assert any(note.startswith("Imported from files of alpaca_eval") for note in notes)
    assert any("not corrected" in note for note in notes)  # no length-controlled column, and why


def test_each_of_the_twelve_gets_a_card(gold: Path, tmp_path: Path) -> None:
    for row in table(gold / "alpaca" / "expected.csv"):
        file = gold / "alpaca" / row["file"]
        out = tmp_path / row["model"]
        words = ["--model", f"org/{row['model']}", "--license", "other", "--license-name", "x"]
        link = ["--license-link", "https://example.org/licence"]
        assert ended("card", "build", "--from", file, *words, *link, "--out", out) == 0
        assert errors_of(out) == []
        text = (out / "README.md").read_text()
        assert "length-controlled win rate: absent" in text
        entries = frontmatter.parse(text).metadata["model-index"][0]["results"]
        metrics = {row["type"]: row["value"] for entry in entries for row in entry["metrics"]}
        assert metrics["win_rate"] == round(float(row["win_rate"]), 2)
        assert (metrics["n_wins"], metrics["n_wins_base"], metrics["n_draws"]) == (
            int(row["n_wins"]), int(row["n_wins_base"]), int(row["n_draws"]),
        )  # fmt: skip
        record = json.loads((out / "eval" / "alpaca_eval" / "result.json").read_text())
        value = {score["metric"]: score["value"] for score in record["scores"]}
        assert value["win_rate"] == pytest.approx(float(row["win_rate"]), **EXACT)
        rounded = float(row["discrete_win_rate"])
        assert value["discrete_win_rate"] == pytest.approx(rounded, **EXACT)


@pytest.mark.parametrize("model", ["phi-2", "gemma-2b-it"])
def test_the_raw_folders_say_judge_and_baseline(gold: Path, model: str) -> None:
    (family,) = families_of([gold / "alpaca_raw" / model])
    (result,) = family.members[0].results
    expected = {row["model"]: row for row in table(gold / "alpaca" / "expected.csv")}[model]
    score = result.score("alpaca_eval", "win_rate")
    assert family.name == model
    assert score.value == pytest.approx(float(expected["win_rate"]), **EXACT)
    assert score.stderr == pytest.approx(float(expected["standard_error"]), **EXACT)
    assert result.provenance["judge"] == {"name": expected["annotator"]}
    assert score.settings == {"baseline": expected["baseline"]}


def test_the_official_and_the_unsaid_judge_are_told_apart(gold: Path, tmp_path: Path) -> None:
    """One file says who judged, the other does not: the table says that they may not compare."""
    paths = [gold / "alpaca_raw" / "phi-2", gold / "alpaca" / "gemma-7b-it.jsonl.gz"]
    (file,) = export_leaderboard(families_of(paths), tmp_path, formats=("md",))
    text = file.read_text()
    assert "†" in text
    assert "not comparable with the others: baseline is" in text


def test_annotations_without_preferences_are_refused(gold: Path, tmp_path: Path) -> None:
    words = ["--model", "me/x", "--license", "mit", "--out", tmp_path / "x"]
    file = gold / "alpaca_partial" / "zephyr-7b-beta.jsonl.gz"
    assert ended("card", "build", "--from", file, *words) == 1
    assert not (tmp_path / "x").exists()


def test_mt_bench_ratings(gold: Path) -> None:
    """Means per turn and category of nine models, failed and repeated judgements included."""
    expected = table(gold / "mtbench" / "expected.csv")
    assert len(expected) == 9
    names = {"turn1": "turn_1", "turn2": "turn_2", "average": "average"}
    for row in expected:
        (one,) = importer("mt_bench").read(gold / "mtbench" / row["file"])
        result = one.result
        for key, value in row.items():
            metric = names.get(key, key.replace("cat_", "category_"))
            if value and (key in names or key.startswith("cat_")):
                found = result.score("mt_bench", metric).value
                assert found == pytest.approx(float(value), **EXACT), (row["model"], metric)
        average = result.score("mt_bench", "average")
        assert (average.n + average.missing, average.missing) == (
            int(row["n"]), int(row["n_failed"]),
        )  # fmt: skip
        assert result.provenance["judge"]["name"] == row["judge"]


def test_every_harness_file_gives_its_own_numbers(gold: Path) -> None:
    """All files of versions 0.3 to 0.4.8: value and error of each score are those in the file."""
    index = [row for row in table(gold / "lm_eval" / "INDEX.csv") if row["split"] == "golden"]
    files = [gold / "lm_eval" / row["file"] for row in index]
    present = [file for file in files if file.is_file()]
    assert len(present) >= 50
    for file, row in zip(files, index, strict=True):
        if file in present:
            assert importer("lm_eval").recognises(file), file
            (one,) = importer("lm_eval").read(file)
            assert (one.result.provenance["harness"].startswith("lm-eval (0.3")) == (
                row["fmt"] == "0.3"
            )
            if row["model"].startswith("pretrained="):
                assert one.model == row["model"].split(",")[0].removeprefix("pretrained=")
            _check_harness_file(json.loads(file.read_text()), one.result)


def _tasks_of(group: dict[str, object]) -> list[tuple[str, object]]:
    return [(name, one) for name, one in group.items() if isinstance(one, dict)]


def _check_harness_file(value: dict[str, object], result: ResultSet) -> None:
    results = value["results"]
    assert isinstance(results, dict)
    # Two files put the tasks of a group inside the group.
    results = {**results, **{k: v for group in results.values() for k, v in _tasks_of(group)}}
    for score in result.scores:
        old = "," not in "".join(results[score.task])
        metric, _, name = score.metric.partition(",")
        filtered = name or score.settings["filter"]
        row = results[score.task]
        stated = row[metric if old else f"{metric},{filtered}"]
        error = row.get(f"{metric}_stderr" if old else f"{metric}_stderr,{filtered}")
        # SQuAD's own metrics are percentages in the harness's files already.
        factor = 100 if score.scale == "percent" and score.task != "squad2" else 1
        assert score.value == pytest.approx(stated * factor), score
        if isinstance(error, float) and score.stderr is not None:
            assert score.stderr == pytest.approx(error * factor, rel=1e-6)
        assert score.ci_low is None or score.ci_low <= score.value


def test_items_told_by_the_error_are_those_of_the_data(gold: Path) -> None:
    """0.3 states no sizes; what its standard errors tell are the sizes of the test sets.

    An error of 0 tells nothing: then nobody knows.
    """
    known = {"arc_challenge": 1172, "hellaswag": 10042, "winogrande": 1267, "piqa": 1838,
             "boolq": 3270, "openbookqa": 500, "truthfulqa_mc": 817, "gsm8k": 1319}  # fmt: skip
    seen = set()
    for file in sorted((gold / "lm_eval").glob("*_0-shot.json")):
        for one in importer("lm_eval").read(file):
            for score in one.result.scores:
                if score.task in known:
                    size = known[score.task] if score.stderr else None
                    assert score.n == size, (file.name, score.task)
                    seen.add(score.task)
    assert len(seen) >= 5


def test_harness_results_on_a_card(
    gold: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (gold / "lm_eval").glob("08bafeab__*")
    words = ["--model", "google/gemma-2-2b", "--license", "gemma", "--out", tmp_path / "card"]
    assert ended("card", "build", "--from", file, *words, "--json") == 0
    built = json.loads(capsys.readouterr().out)
    by_task = {(s["task"], s["metric"]): s for s in built["scores"]}
    row = json.loads(file.read_text())["results"]["arc_challenge"]
    score = by_task["arc_challenge", "acc_norm"]
    assert score["value"] == pytest.approx(100 * row["acc_norm,none"], **EXACT)
    assert math.isclose(score["stderr"], 100 * row["acc_norm_stderr,none"], rel_tol=1e-6)
    assert errors_of(tmp_path / "card") == []


def test_all_three_suites_on_one_card(
    gold: Path, tmp_path: Path, golden: Callable[[str, str], None]
) -> None:
    paths = [gold / "alpaca_raw" / "phi-2", gold / "mtbench" / "Stefanstud__phi-3-dpo.jsonl.gz"]
    words = [word for path in paths for word in ("--from", path)]
    names = ["--as", "phi-2", "--as", "Stefanstud__phi-3-dpo"]
    rest = ["--model", "me/phi", "--license", "mit", "--out", tmp_path / "card"]
    assert ended("card", "build", *words, *names, *rest) == 0
    text = (tmp_path / "card" / "README.md").read_text()
    assert "| **[phi](https://huggingface.co/me/phi)** | **2.35 [1.47, 3.23]** |" in text
    assert "Judged by gpt-4: MT-Bench: average rating;" in text
