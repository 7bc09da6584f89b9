"""`evalkit import`: what is found is shown, kept as records, and read back from them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_importers import annotations, harness_file, judgements, write
from test_importers_tools import HEADER, ROW, leaderboard_file, log, packed

from evalkit import registry
from evalkit.cli import main
from evalkit.roles import Imported

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `import` and gives exit code, stdout and stderr."""

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["import", *map(str, words)])
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return command


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One file of every kind, of one model each, and things that are no results."""
    folder = tmp_path / "results"
    write(folder / "ae" / "judge" / "annotations.json", annotations())
    write(folder / "fs" / "model_judgment" / "gpt-4_single.jsonl", judgements())
    write(folder / "results_2026.json", harness_file())
    write(folder / "results_2023.json", leaderboard_file())
    packed(folder / "arc.eval", log())
    board = folder / "weighted_alpaca_eval_gpt4_turbo" / "leaderboard.csv"
    board.parent.mkdir()
    board.write_text(f"{HEADER}\n{ROW.replace('mine', 'other')}\n")
    (folder / "notes.txt").write_text("nothing")
    return folder


def test_every_kind_is_recognised_and_shown(run: Run, results: Path) -> None:
    code, out, error = run(results, "--json")
    assert (code, error) == (0, "")
    found = json.loads(out)
    assert {one["tool"] for one in found} == {
        "alpaca_eval", "alpaca_eval (leaderboard)", "FastChat", "inspect_ai", "lm-eval",
        "Open LLM Leaderboard",
    }  # fmt: skip
    assert all(len(one["sha256"]) == 64 and one["scores"] for one in found)
    assert {one["folder"] for one in found} == {None}


def test_the_table(run: Run, results: Path) -> None:
    code, out, _ = run(results)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["model", "task", "metric", "value", "n", "stderr", "tool", "source"]
    (line,) = [line for line in lines if "truthfulqa_mc2" in line and "Open LLM" in line]
    assert "45.00" in line
    assert "not stated" in line
    (source,) = [line for line in lines if line.endswith("results_2023.json")]
    assert source.split()[1].rstrip(":") == line.split()[-1]


def test_kept_results_are_read_back_as_they_were(run: Run, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    first = json.loads(run(results, "--out", out, "--json")[1])
    again = json.loads(run(out, "--json")[1])
    strip = ("file", "folder")

    def told(rows: list[dict[str, Any]]) -> list[str]:
        return sorted(
            json.dumps({k: v for k, v in one.items() if k not in strip}, sort_keys=True)
            for one in rows
        )

    assert told(again) == told(first)
    assert len(first) == 6
    assert sum(one["samples"] for one in again) > 10


def test_importing_again_writes_the_same_folders(run: Run, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    run(results, "--out", out)
    before = {f.relative_to(out): f.read_bytes() for f in out.rglob("*") if f.is_file()}
    assert run(results, "--out", out)[0] == 0
    assert {f.relative_to(out): f.read_bytes() for f in out.rglob("*") if f.is_file()} == before


def test_model_and_name(run: Run, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    code, _, error = run(results, "--model", "me/mine")
    assert (code, "the results are of 4 models" in error) == (1, True)
    code, _, error = run(results, "--as", "nobody")
    assert (code, "no result is of a model called 'nobody'" in error) == (1, True)
    code, said, _ = run(results, "--as", "mine", "--model", "me/Mine-Iter1", "--out", out, "--json")
    assert code == 0
    found = json.loads(said)
    assert {one["model"] for one in found} == {"me/Mine-Iter1"}
    assert {one["provenance"]["imported"]["model"] for one in found} == {"mine"}
    assert [path.name for path in out.iterdir()] == ["me__Mine-Iter1"]
    again = json.loads(run(out, "--json")[1])
    assert {one["model"] for one in again} == {"me/Mine-Iter1"}


def test_annotations_are_read_in_place_of_their_leaderboard(run: Run, tmp_path: Path) -> None:
    """alpaca_eval writes both into one folder: a model has one win rate all the same."""
    folder = tmp_path / "results" / "judge"
    write(folder / "annotations.json", annotations())
    (folder / "leaderboard.csv").write_text(f"{HEADER}\n{ROW}\n")
    of_folder = json.loads(run(tmp_path / "results", "--json")[1])
    assert [one["tool"] for one in of_folder] == ["alpaca_eval"]
    of_file = json.loads(run(folder / "leaderboard.csv", "--json")[1])
    assert [one["tool"] for one in of_file] == ["alpaca_eval (leaderboard)"]


def test_a_damaged_file_leaves_nothing_written(run: Run, results: Path, tmp_path: Path) -> None:
    file = results / "fs" / "model_judgment" / "gpt-4_single.jsonl"
    file.write_text(file.read_text()[:-20])
    out = tmp_path / "kept"
    code, _, error = run(results, "--out", out)
    assert (code, "gpt-4_single.jsonl:4" in error) == (1, True)
    assert not out.exists()


@pytest.mark.parametrize("name", ["notes.txt", "config.json", "empty"])
def test_what_nothing_recognises(run: Run, tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    if name == "empty":
        place.mkdir()
    else:
        place.write_text("{}")
    code, _, error = run(place)
    assert (code, "no importer recognises results in" in error) == (1, True)
    for known in registry.names("importers"):
        assert known in error


def test_two_copies_of_one_file_are_told(run: Run, results: Path, tmp_path: Path) -> None:
    copy = results / "copy" / "results_2026.json"
    copy.parent.mkdir()
    copy.write_bytes((results / "results_2026.json").read_bytes())
    code, _, error = run(results, "--out", tmp_path / "kept")
    assert (code, "would be written to one folder" in " ".join(error.split())) == (1, True)
    assert not (tmp_path / "kept").exists()


def test_a_card_of_kept_results(
    run: Run, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, card = tmp_path / "kept", tmp_path / "card"
    run(results, "--as", "mine", "--model", "me/Mine-Iter1", "--out", kept)
    words = ["card", "build", "--from", kept, "--model", "me/Mine-Iter1", "--license", "mit",
             "--base", "org/base", "--relation", "finetune", "--out", card]  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        main(list(map(str, words)))
    assert not caught.value.code, capsys.readouterr().err
    text = (card / "README.md").read_text("utf-8")
    assert "FastChat" in text
    assert "alpaca_eval" in text


def test_results_of_a_run_are_imported_from_evalkit(tmp_path: Path) -> None:
    scores = [{"task": "t", "metric": "acc", "value": 50.0, "n": 10, "scale": "percent"}]
    value = {"benchmark": "b", "checkpoint": "iter1", "checkpoint_digest": "d", "scores": scores,
             "provenance": {"harness": "x"}, "samples": [], "clean_scores": []}  # fmt: skip
    file = write(tmp_path / "result.json", value)
    plugin = registry.load("importers", "evalkit_result")(None)
    (one,) = plugin.read(file)
    assert isinstance(one, Imported)
    assert one.model == "iter1"
    assert one.result.provenance["imported"]["tool"] == "evalkit"
    assert one.result.provenance["harness"] == "x"


@pytest.mark.parametrize("change", [{"scores": [{"task": "t"}]}, {"scores": 3}, {"more": 1}])
def test_results_of_another_version(tmp_path: Path, change: dict[str, Any]) -> None:
    from evalkit.errors import RecipeError

    value = {"benchmark": "b", "checkpoint": "", "checkpoint_digest": "", "scores": [],
             "provenance": {}, **change}  # fmt: skip
    file = write(tmp_path / "result.json", value)
    plugin = registry.load("importers", "evalkit_result")(None)
    assert plugin.recognises(file)
    with pytest.raises(RecipeError, match="no result of this version of evalkit"):
        plugin.read(file)
