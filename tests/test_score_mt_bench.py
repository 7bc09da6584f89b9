"""`evalkit score mt-bench`: published means, several models, matches; FastChat's numbers beside."""

import contextlib
import csv
import io
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli import main
from evalkit.fastchat.judgments import match_row, rating_row, read_matches, read_ratings
from evalkit.metrics.matches import Match
from evalkit.metrics.ratings import Rating

KEYS = ("turn_1", "turn_2", "average", "n", "n_missing", "categories")


@pytest.fixture
def score(capsys: pytest.CaptureFixture[str]) -> Any:
    """The command's JSON."""

    def run(*words: Any) -> Any:
        with pytest.raises(SystemExit) as ended:
            main(["score", "mt-bench", *map(str, words), "--json"])
        captured = capsys.readouterr()
        assert ended.value.code == 0, captured.err
        return json.loads(captured.out)

    return run


def said(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["score", "mt-bench", *map(str, words)])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "golden" / "mtbench"


def write(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def test_published_means(score: Any, folder: Path) -> None:
    with (folder / "expected.csv").open(encoding="utf-8") as lines:
        models = list(csv.DictReader(lines))
    assert len(models) == 9
    for row in models:
        found = score(folder / row["file"])
        assert set(KEYS) <= set(found)
        assert found["judge"] == "gpt-4"
        for ours, theirs in (("turn_1", "turn1"), ("turn_2", "turn2"), ("average", "average")):
            assert round(found[ours], 2) == round(float(row[theirs]), 2)
            assert found[ours] == pytest.approx(float(row[theirs]), abs=1e-9)
            low, high = found["intervals"][ours]
            assert low < found[ours] < high
        assert found["n_missing"] == int(row["n_failed"])
        assert found["n"] + found["n_missing"] == int(row["n"])
        published = {key[4:]: float(value) for key, value in row.items() if key[:4] == "cat_"}
        assert found["categories"] == pytest.approx(published, abs=1e-9)


def test_several_models_are_told_apart_and_together(score: Any, folder: Path) -> None:
    file = folder / "kook222__en__qwen_judge_32B__single_grade.jsonl.gz"
    found = score(file)
    assert set(KEYS) <= set(found)
    assert (found["n"], found["n_missing"], round(found["average"], 2)) == (958, 2, 7.66)
    assert len(found["models"]) == 6
    assert round(found["models"]["gemma-2-9b-it"]["average"], 4) == 8.0943
    for one in found["models"].values():
        assert set(one) == {*KEYS, "intervals"}
    assert sum(one["n"] for one in found["models"].values()) == 958


def test_a_turn_that_was_not_graded_is_null(score: Any, folder: Path) -> None:
    found = score(folder / "kook222__ko__qwen_judge_32B__single_grade_ref.jsonl.gz")
    assert (found["turn_1"], found["n"], found["n_missing"]) == (None, 174, 0)


def test_ratings_and_matches_in_one_go(score: Any, folder: Path) -> None:
    name = "kook222__en__gpt_judge_gpt4omini__{}.jsonl.gz"
    files = [folder / name.format(kind) for kind in ("single_grade", "pairwise")]
    found = score(*files)
    assert round(found["average"], 2) == 7.76
    matches = found["pairwise"]
    assert (matches["n"], matches["n_missing"], matches["n_inconsistent"]) == (1193, 7, 399)
    adjusted = [one["win_rate_adjusted"] for one in matches["models"].values()]
    assert adjusted == sorted(adjusted, reverse=True)
    # Every match gives one point in all, so adjusted rates weighted by matches are 50 %.
    models = matches["models"].values()
    points = sum(one["win_rate_adjusted"] * one["n"] for one in models)
    assert points == pytest.approx(100 * matches["n"])


@pytest.mark.parametrize("baseline", [None, "Llama-3.1-8B-Instruct"])
def test_win_rates_are_fastchat_s(
    score: Any, folder: Path, tmp_path: Path, baseline: str | None
) -> None:
    """Its own show_result, on the recorded matches in the form that it reads."""
    show = pytest.importorskip("fastchat.llm_judge.show_result")
    import pandas

    recorded = folder / "kook222__en__gpt_judge_gpt4omini__pairwise.jsonl.gz"
    rows = [match_row(one.match, one.judge) for one in read_matches(recorded)]
    file = write(tmp_path / "gpt-4o-mini_pair.jsonl", rows)
    printed = io.StringIO()
    whole = pandas.option_context("display.width", 200, "display.max_columns", None)
    with contextlib.redirect_stdout(printed), whole:
        show.display_result_pairwise(
            Namespace(input_file=str(file), model_list=None, baseline_model=baseline)
        )
    found = score(file, *(["--baseline", baseline] if baseline else []))["pairwise"]
    lines = [line.split() for line in printed.getvalue().splitlines()]
    theirs = {line[0]: line[1:] for line in lines if line and line[0] in found["models"]}
    assert list(theirs) == list(found["models"])
    assert len(theirs) == (5 if baseline else 6)
    for model, one in found["models"].items():
        win, loss, tie, win_rate, loss_rate, adjusted = map(float, theirs[model])
        assert (one["wins"], one["losses"], one["ties"]) == (win, loss, tie)
        rates = [one["win_rate"], one["loss_rate"], one["win_rate_adjusted"]]
        assert rates == pytest.approx([100 * x for x in (win_rate, loss_rate, adjusted)], abs=1e-4)


def test_mean_ratings_are_fastchat_s(score: Any, folder: Path, tmp_path: Path) -> None:
    show = pytest.importorskip("fastchat.llm_judge.show_result")
    recorded = folder / "kook222__en__qwen_judge_32B__single_grade.jsonl.gz"
    rows = [rating_row(one.rating, one.model, one.judge) for one in read_ratings(recorded)]
    file = write(tmp_path / "qwen_single.jsonl", rows)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        show.display_result_single(
            Namespace(input_file=str(file), model_list=None, bench_name="mt_bench")
        )
    found = score(file)["models"]
    parts = printed.getvalue().split("##########")[2::2]
    for name, part in zip(("turn_1", "turn_2", "average"), parts, strict=True):
        theirs = {line.split()[0]: float(line.split()[-1]) for line in part.splitlines()
                  if line.split() and line.split()[0] in found}  # fmt: skip
        assert theirs == pytest.approx({m: one[name] for m, one in found.items()}, abs=1e-6)


def test_failed_judgments_are_missing_and_no_minus_one(score: Any, tmp_path: Path) -> None:
    ratings = [Rating("81", "writing", 1, 8.0), Rating("81", "writing", 2, None)]
    found = score(write(tmp_path / "j_single.jsonl", [rating_row(r, "m", "j") for r in ratings]))
    assert (found["average"], found["turn_2"], found["n"], found["n_missing"]) == (8.0, None, 1, 1)


def test_matches_with_a_failed_game_are_dropped_and_counted(score: Any, tmp_path: Path) -> None:
    games = [("model_1", "model_1"), ("model_1", "model_2"), ("tie", "tie"), ("model_1", "tie"),
             ("model_2", None), (None, None)]  # fmt: skip
    rows = [match_row(Match(str(81 + i), "writing", 1, "a", "b", *game), "j")
            for i, game in enumerate(games)]  # fmt: skip
    found = score(write(tmp_path / "j_pair.jsonl", rows))["pairwise"]
    one = found["models"]["a"]
    assert (one["wins"], one["losses"], one["ties"], one["n"], one["n_missing"]) == (1, 0, 3, 4, 2)
    assert (one["win_rate"], one["win_rate_adjusted"]) == (25.0, 62.5)
    assert (found["n_missing"], found["n_inconsistent"]) == (2, 2)


def test_tables_for_people(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = said(capsys, folder / "Stefanstud__phi-3-dpo.jsonl.gz")
    assert code == 0
    assert "judged by gpt-4\n" in out
    assert "average     8.20 [7.65, 8.75]" in out
    _, out, _ = said(capsys, folder / "kook222__en__qwen_judge_32B__pairwise.jsonl.gz")
    first, *rest = out.splitlines()[2:]
    assert first.split() == ["win_rate", "win_rate_adjusted", "wins", "losses", "ties", "n",
                             "n_missing"]  # fmt: skip
    assert len(rest) == 6


@pytest.mark.parametrize(
    ("rows", "words", "said_"),
    [
        (None, [], "there is no file"),
        ([{"a": 1}], [], "holds no judgments of MT-Bench"),
        ([rating_row(Rating("81", "writing", 1, None), "m", "j")], [], "all 1 judgments in"),
        ([match_row(Match("81", "", 1, "a", "b", None, "tie"), "j")], [], "all 1 matches in"),
        ([match_row(Match("81", "", 1, "a", "b", "tie", "tie"), "j")], ["--baseline", "c"],
         "is against c"),
        ([rating_row(Rating("81", "writing", 1, 5.0), "m", j) for j in "jk"], [],
         "several judges"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rows: Any, words: list[str], said_: str
) -> None:
    file = tmp_path / "x.jsonl"
    if rows is not None:
        write(file, rows)
    code, out, err = said(capsys, file, *words)
    assert (code, out) == (1, "")
    assert said_ in " ".join(err.split())
