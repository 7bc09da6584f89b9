"""`evalkit score alpaca-eval`: the published numbers of a file of annotations."""

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from length_controlled_parts import BASELINE, table

from evalkit.cli import main

KEYS = [
    "win_rate", "standard_error", "n", "n_missing", "avg_length", "length_controlled_winrate",
    "lc_standard_error", "lc_standard_error_bootstrap", "C",
]  # fmt: skip


@pytest.fixture(scope="module")
def gold(shared: Path) -> Path:
    return shared / "golden"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command; its exit code, stdout and stderr."""

    def ended(*words: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["score", "alpaca-eval", *map(str, words)])
        return (int(caught.value.code or 0), *capsys.readouterr())  # type: ignore[return-value]

    return ended


def test_json_of_a_compact_file(gold: Path, run: Any) -> None:
    expected = table(gold / "alpaca" / "expected.csv")["phi-2"]
    words = ["--aux", gold / "alpaca", "--c", expected["C_leaderboard"], "--json"]
    code, out, _ = run(gold / "alpaca" / "phi-2.jsonl.gz", *words)
    found = json.loads(out)
    assert code == 0
    assert list(found) == KEYS
    assert found["win_rate"] == pytest.approx(float(expected["win_rate"]), abs=1e-6)
    assert found["standard_error"] == pytest.approx(float(expected["standard_error"]), abs=1e-6)
    published = float(expected["length_controlled_winrate"])
    assert found["length_controlled_winrate"] == pytest.approx(published, abs=1e-5)
    assert (found["n"], found["n_missing"]) == (803, 2)
    assert found["avg_length"] == pytest.approx(626, abs=2)
    assert found["C"] == float(expected["C_leaderboard"])
    assert found["lc_standard_error_bootstrap"] > 2 * found["lc_standard_error"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("model", ["phi-2", "gemma-2b-it"])
def test_alpaca_eval_s_own_folder_gives_the_same(gold: Path, run: Any, model: str) -> None:
    """annotations.json with model_outputs.json, against the compact form of the same judgements."""
    folder = gold / "alpaca_raw" / model / "weighted_alpaca_eval_gpt4_turbo"
    words = ["--aux", gold / "alpaca", "--json"]
    _, raw, _ = run(folder / "annotations.json", *words)
    _, compact, _ = run(gold / "alpaca" / f"{model}.jsonl.gz", *words)
    assert json.loads(raw) == pytest.approx(json.loads(compact), abs=1e-4)


def test_the_table_names_both_errors_and_what_is_left_out(gold: Path, run: Any) -> None:
    """The auxiliary data is found beside the file."""
    file = gold / "alpaca" / "NullModel.jsonl.gz"
    other = gold / "alpaca" / "gemma-7b-it.jsonl.gz"
    code, out, err = run(file, "--against", other)
    assert (code, err) == (0, "")
    lines = {}
    for line in out.splitlines():
        name, *rest = re.split(r"\s{2,}", line.strip())
        lines[name] = rest
    assert lines["length-controlled win rate"][0] == "86.46"
    assert "standard error, bootstrap" in lines
    assert "not the error of the win rate" in lines["standard error, published"][1]
    assert lines["C"][0] == "21.54"
    assert "gamed_reconstructed.csv" in lines["auxiliary data"][0]
    assert lines["above gemma-7b-it by"][0] == "76.03"
    assert "without the choice of C, the noise of the judge and that of generation" in out


@pytest.mark.slow
def test_the_difference_is_paired(gold: Path, run: Any) -> None:
    a, b = (gold / "alpaca" / f"{name}.jsonl.gz" for name in ("phi-2", "phi-2-sft"))
    _, forth, _ = run(a, "--against", b, "--json")
    _, back, _ = run(b, "--against", a, "--json")
    one, other = json.loads(forth)["against"], json.loads(back)["against"]
    assert (one["other"], other["other"], one["n"]) == ("phi-2-sft", "phi-2", 803)
    assert one["difference"] == pytest.approx(-other["difference"])
    assert one["ci_low"] == pytest.approx(-other["ci_high"], abs=0.1)
    assert one["standard_error"] == pytest.approx(other["standard_error"], rel=0.05)


def test_the_baseline(gold: Path, run: Any) -> None:
    code, out, _ = run(gold / "alpaca" / f"{BASELINE}.jsonl.gz", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["win_rate"], found["length_controlled_winrate"]) == (50, 50)
    assert (found["lc_standard_error"], found["lc_standard_error_bootstrap"]) == (0, 0)
    assert found["C"] is None


def test_failed_judgements_are_counted(gold: Path, run: Any, tmp_path: Path) -> None:
    with gzip.open(gold / "alpaca" / "phi-2.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows[:5]:
        row["preference"] = None
    file = tmp_path / "phi-2.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, out, _ = run(file, "--aux", gold / "alpaca", "--json")
    found = json.loads(out)
    assert (found["n"], found["n_missing"]) == (798, 7)


def own_rows(**changes: Any) -> str:
    row = {"row": 0, "preference": 1.7, "len_model": 5, "len_reference": 9, "dataset": "mine"}
    return "".join(json.dumps({**row, "row": n, **changes}) + "\n" for n in range(20))


def test_own_instructions_have_no_length_controlled_win_rate(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(own_rows())
    code, out, err = run(file, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["win_rate"] == pytest.approx(70)
    assert found["length_controlled_winrate"] is None
    code, out, err = run(file)
    assert code == 0
    assert "AlpacaEval's own instructions alone" in err


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (own_rows(dataset="koala"), "needs df_gamed.csv", "--aux DIR"),
        (own_rows(preference=None), "no item has a preference", "judge"),
        ("", "holds no results", ""),
        (own_rows(generator_2="a") + own_rows(generator_2="b"), "several models: a, b", "own"),
    ],
)
def test_errors_say_what_to_do(
    run: Any, tmp_path: Path, content: str, said: str, hint: str
) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(content)
    code, out, err = run(file, "--json")
    told = json.loads(err.splitlines()[-1])["error"]
    assert (code, out) == (1, "")
    assert said in told["message"]
    assert hint in told["hint"]


def test_rows_without_lengths(gold: Path, run: Any, tmp_path: Path) -> None:
    for name in ("instruction_difficulty.csv", "gamed_reconstructed.csv"):
        shutil.copy(gold / "alpaca" / name, tmp_path)
    file = tmp_path / "mine.jsonl"
    file.write_text(own_rows(dataset="koala", len_reference=None))
    code, _, err = run(file)
    assert code == 1
    assert "how long both outputs are" in err.replace("\n   ", "")


def test_a_strength_of_zero_is_refused(run: Any, tmp_path: Path) -> None:
    code, _, err = run(tmp_path / "any.jsonl", "--c", "0")
    assert code == 2
    assert "--c" in err
