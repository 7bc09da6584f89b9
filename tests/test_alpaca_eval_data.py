"""AlpacaEval's auxiliary data: the Hub's file where it is prefetched, or a folder."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from length_controlled_parts import prefetch

from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.metrics import alpaca_eval_data
from evalkit.metrics.alpaca_eval_data import (
    DIFFICULTY_FILE,
    GAMED_FILE,
    HUB_FILE,
    HUB_SHA256,
    read,
)

INSTRUCTIONS = 4


def gamed_table(preference: str = "0.25") -> str:
    lines = ["model,index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline"]
    for model in ("verbose", "concise"):
        for index in range(INSTRUCTIONS):
            lines.append(f"{model},{index},{preference},{index - 1.5},{-index / 2},False")
    return "\n".join(lines) + "\n"


def write_two_files(folder: Path) -> Path:
    folder.mkdir()
    (folder / GAMED_FILE).write_text(gamed_table())
    rows = [[index, -index / 2] for index in range(INSTRUCTIONS)]
    with (folder / DIFFICULTY_FILE).open("w", newline="") as lines:
        csv.writer(lines).writerows([["index", "instruction_difficulty"], *rows])
    return folder


@pytest.fixture
def prefetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The made-up file, as the Hub's cache on this machine holds it."""
    return prefetch(gamed_table(), tmp_path / "hub", monkeypatch)


def test_a_folder_of_two_files(tmp_path: Path) -> None:
    found = read(write_two_files(tmp_path / "aux"))
    assert found.difficulty_N.tolist() == [0, -0.5, -1, -1.5]
    assert found.gamed.gap_N == pytest.approx(np.tanh(np.tile([-1.5, -0.5, 0.5, 1.5], 2)))
    assert found.gamed.won_N.tolist() == [0.25] * 8
    digest = hashlib.sha256(gamed_table().encode()).hexdigest()
    assert found.origin[GAMED_FILE] == digest
    assert set(found.origin) == {GAMED_FILE, DIFFICULTY_FILE}


def test_the_hub_s_file_says_the_same(
    tmp_path: Path, prefetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefetched or in a folder, with the digest that is asked of it."""
    digest = hashlib.sha256(gamed_table().encode()).hexdigest()
    monkeypatch.setattr(alpaca_eval_data, "HUB_SHA256", digest)
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / HUB_FILE).write_text(gamed_table())
    two_files = read(write_two_files(tmp_path / "aux"))
    for found in (read(), read(folder)):
        assert found.difficulty_N.tolist() == two_files.difficulty_N.tolist()
        assert all(map(np.array_equal, found.gamed, two_files.gamed))
        assert dict(found.origin) == {HUB_FILE: digest}


def test_another_file_by_the_hub_s_name_is_refused(tmp_path: Path, prefetched: Path) -> None:
    (tmp_path / HUB_FILE).write_text(gamed_table())
    for folder in (None, tmp_path):
        with pytest.raises(RecipeError, match="is not the published one") as caught:
            read(folder)
        assert HUB_SHA256 in caught.value.message


def test_none_on_this_machine() -> None:
    with pytest.raises(PrerequisiteError, match="which is not on this machine") as caught:
        read()
    assert "--aux DIR" in caught.value.hint
    assert "hf download tatsu-lab/alpaca_eval df_gamed.csv" in caught.value.hint


def test_unjudged_gamed_rows_are_left_out(tmp_path: Path) -> None:
    """As alpaca_eval's fit does, which drops every row without a preference."""
    folder = write_two_files(tmp_path / "aux")
    content = gamed_table().replace("verbose,2,0.25", "verbose,2,")
    (folder / GAMED_FILE).write_text(content)
    assert len(read(folder).gamed.won_N) == 7


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (GAMED_FILE, None, f"holds no {GAMED_FILE}"),
        (DIFFICULTY_FILE, None, f"holds no {DIFFICULTY_FILE}"),
        (GAMED_FILE, "a,b\n1,2\n", "no column 'preference'"),
        (DIFFICULTY_FILE, "index,instruction_difficulty\n0,easy\n", "is no number"),
        (DIFFICULTY_FILE, "index,instruction_difficulty\n", "missing somewhere"),
        (GAMED_FILE, gamed_table("inf"), "missing somewhere"),
    ],
)
def test_damaged_folders(tmp_path: Path, file: str, content: str | None, said: str) -> None:
    folder = write_two_files(tmp_path / "aux")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    with pytest.raises(RecipeError, match=said):
        read(folder)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no folder"):
        read(tmp_path / "nowhere")


def test_the_order_of_instructions_is_part_of_it(shared: Path) -> None:
    """Difficulties are found by row: the same instructions in another order have others."""
    lines = (shared / "benchdata" / "alpaca_eval.jsonl").read_text("utf-8").splitlines()
    instructions = [json.loads(line)["instruction"] for line in lines]
    assert len(instructions) == 805
    assert alpaca_eval_data.in_published_order(instructions)
    assert not alpaca_eval_data.in_published_order(instructions[::-1])
    assert not alpaca_eval_data.in_published_order(instructions[:-1])
