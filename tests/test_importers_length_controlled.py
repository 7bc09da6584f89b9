"""Imported annotations have the published length-controlled win rate where its data was fetched."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
from length_controlled_parts import prefetch, table

from evalkit import registry
from evalkit.cli import main
from evalkit.metrics import alpaca_eval_data
from evalkit.records import ResultSet

TASK, METRIC = "alpaca_eval", "length_controlled_winrate"


@pytest.fixture
def gold(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recorded results, with a file of the Hub's form, and its digest, in the Hub's cache."""
    folder = shared / "golden" / "alpaca"
    content = (folder / "gamed_reconstructed.csv").read_text()
    prefetch(content, tmp_path / "hub", monkeypatch)
    digest = hashlib.sha256(content.encode()).hexdigest()
    monkeypatch.setattr(alpaca_eval_data, "HUB_SHA256", digest)
    return folder


def imported(file: Path) -> ResultSet:
    plugin = registry.load("importers", "alpaca_eval")(None)
    (found,) = plugin.read(file)
    result: ResultSet = found.result
    return result


def test_the_score_and_the_fit_behind_it(gold: Path) -> None:
    expected = table(gold / "expected.csv")["NullModel"]
    result = imported(gold / "NullModel.jsonl.gz")
    score = result.score(TASK, METRIC)
    published = float(expected["length_controlled_winrate"])
    assert score.value == pytest.approx(published, abs=0.16)
    assert score.ci_low is not None and score.ci_high is not None
    assert score.ci_low < score.value < score.ci_high
    fit = result.provenance[METRIC]
    assert fit["C"] == pytest.approx(float(expected["C_leaderboard"]))
    assert fit["published_standard_error"] == pytest.approx(
        float(expected["lc_standard_error"]), abs=1e-3
    )
    assert set(fit["auxiliary_data_sha256"]) == {"df_gamed.csv"}
    assert score.stderr is not None and score.stderr > 4 * fit["published_standard_error"]
    json.dumps(result.provenance, allow_nan=False)


def test_other_instructions_have_none(gold: Path, tmp_path: Path) -> None:
    row = {"preference": 1.7, "len_model": 5, "len_reference": 9, "dataset": "mine"}
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({**row, "row": n}) + "\n" for n in range(20)))
    result = imported(file)
    assert METRIC not in {score.metric for score in result.scores}
    assert result.provenance[METRIC].startswith("absent")


@pytest.mark.slow
def test_a_leaderboard_shows_it_first(gold: Path, tmp_path: Path) -> None:
    """The official order of three models, the baseline in its place."""
    names = ("NullModel", "gpt4_1106_preview", "gemma-7b-it")
    files = [str(gold / f"{name}.jsonl.gz") for name in names]
    with pytest.raises(SystemExit) as caught:
        main(["leaderboard", "export", *files, "--out", str(tmp_path / "board")])
    assert not caught.value.code
    with (tmp_path / "board" / "alpaca_eval_2.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["model"] for row in rows] == list(names)
    rates = [float(row["AlpacaEval: length-controlled win rate value"]) for row in rows]
    assert rates == pytest.approx([86.46, 50.0, 10.43], abs=0.16)
