"""Own data that is wrong: every message names file, row and column, many at once."""

import gzip
import json
from pathlib import Path
from typing import Any

import own_data
import pytest

from evalkit.errors import RecipeError

FINE = {"prompt": "fine"}
USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


def refused(file: Path, **options: Any) -> RecipeError:
    """The error of reading a file, after seeing that `check` says the same."""
    source = own_data.source("file", path=str(file), **options)
    with pytest.raises(RecipeError) as caught:
        source.prompts()
    problems = source.check()
    assert problems
    if not caught.value.problems:
        assert [one.message for one in problems] == [caught.value.message]
        assert problems[-1].hint == caught.value.hint
    return caught.value


ROWS: dict[str, tuple[list[Any], str]] = {
    "empty": ([FINE, {"prompt": " "}], "{file}:2  column 'prompt' is empty"),
    "null": ([FINE, {"prompt": None, "x": 1}],
             "{file}:2  has no 'prompt': among prompts it holds x"),
    "a number": ([FINE, {"prompt": 3}], "{file}:2  column 'prompt' is the number 3, not a text"),
    "a truth value": ([{"prompt": True}],
                      "{file}:1  column 'prompt' is a truth value, not a text"),
    "an object": ([{"prompt": {"text": "Hi"}}],
                  "{file}:1  column 'prompt' is an object, not a text"),
    "half a character": ([{"prompt": "\ud800"}],
                         "{file}:1  column 'prompt' has half a character (a lone surrogate)"),
    "no response": ([{"prompt": "Hi", "response": "Ho"}, {"prompt": "Hi"}],
                    "{file}:2  column 'response' is missing"),
    "an empty response": ([{"prompt": "Hi", "response": ""}],
                          "{file}:1  column 'response' is empty"),
    "mixed shapes": ([{"messages": [USER]}, FINE],
                     "{file}:2  has no 'messages': among conversations it holds prompt"),
    "an id twice": ([{"prompt": "a", "id": "x"}, {"prompt": "b", "id": "x"}],
                    "{file}:2  column 'id' 'x' is already that of {file}:1"),
    "an id that is a row number": ([{"prompt": "a"}, {"prompt": "b", "id": "row-1"}],
                                   "{file}:2  column 'id' 'row-1' is already that of {file}:1"),
    "an id of no kind": ([{"prompt": "a", "id": [1]}],
                         "{file}:1  column 'id' is neither a text nor a whole number"),
    "a rule that is a text": ([{"prompt": "a", "rule": "exact"}],
                              "{file}:1  column 'rule' is no JSON"),
    "a rule that is a list": ([{"prompt": "a", "rule": [1]}],
                              "{file}:1  column 'rule' is not an object with a kind"),
    "the same twice": ([{"prompt": "a", "chosen": "b", "rejected": "b "}],
                       "{file}:1  column 'rejected' is the same as 'chosen'"),
    "a pair of other turns": (
        [{"chosen": [USER, ANSWER], "rejected": [{**USER, "content": "Ho"}, ANSWER]}],
        "{file}:1  column 'rejected' parts from 'chosen' before the last turn"),
    "a pair without a prompt": (
        [{"chosen": "b", "rejected": "c"}],
        "{file}:1  column 'chosen' is a response alone, and no column has the prompt"),
    "a pair with another prompt": (
        [{"prompt": "Ho", "chosen": [USER, ANSWER], "rejected": "c"}],
        "{file}:1  column 'chosen' has other turns than 'prompt' before it"),
    "a prompt with more than stands before the response": (
        [{"prompt": [{"role": "system", "content": "Be kind."}, USER],
          "chosen": [USER, ANSWER, USER, ANSWER], "rejected": "c"}],
        "{file}:1  column 'chosen' has other turns than 'prompt' before it"),
    "a response to another prompt": (
        [{"prompt": "Ho", "response": [USER, ANSWER]}],
        "{file}:1  column 'response' repeats other turns than those of 'prompt'"),
    "chosen ends with the user": (
        [{"chosen": [USER], "rejected": [USER, ANSWER]}],
        "{file}:1  column 'chosen' does not end in an assistant's turn"),
    "an unknown role": (
        [{"messages": [{"role": "bot", "content": "Hi"}]}],
        "{file}:1  column 'messages' turn 1 has the role 'bot';"
        " known are system, user (human) and assistant (gpt)"),
    "no role": ([{"messages": [{"content": "Hi"}]}],
                "{file}:1  column 'messages' turn 1 has neither 'role' nor 'from', only content"),
    "no content": ([{"messages": [{"role": "user"}]}],
                   "{file}:1  column 'messages' turn 1 is missing"),
    "an empty turn": ([{"messages": [USER, {**ANSWER, "content": ""}, USER]}],
                      "{file}:1  column 'messages' turn 2 is empty"),
    "no messages": ([{"messages": []}],
                    "{file}:1  column 'messages' is an empty list of messages"),
    "no list": ([{"messages": "Hi"}],
                "{file}:1  column 'messages' is a text, not a list of messages (nor JSON of one)"),
    "no message": ([{"messages": ["Hi"]}],
                   "{file}:1  column 'messages' turn 1 is of type str, not a message"),
    "two users": ([{"messages": [USER, USER]}],
                  "{file}:1  column 'messages' turn 2 is the user's where the assistant's is due"),
    "assistant first": (
        [{"messages": [ANSWER, USER]}],
        "{file}:1  column 'messages' turn 1 is the assistant's where the user's is due"),
    "system in between": (
        [{"messages": [USER, {"role": "system", "content": "x"}]}],
        "{file}:1  column 'messages' turn 2 is the system's where the assistant's is due"),
    "only a system": ([{"messages": [{"role": "system", "content": "x"}]}],
                      "{file}:1  column 'messages' has no user's turn to answer"),
    "a picture": (
        [{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}],
        "{file}:1  column 'messages' turn 1 has parts that are no text"),
    "two systems": (
        [{"system": "a", "messages": [{"role": "system", "content": "b"}, USER]}],
        "{file}:1  column 'system' differs from the system message of the conversation"),
    "Python's repr": (
        [{"prompt": "a", "chosen": "[{'role': 'user', 'content': 'b'}]", "rejected": "c"}],
        "{file}:1  column 'chosen' is a list of messages as Python prints it, not as JSON"),
    "no turns": ([{"turns": []}], "{file}:1  column 'turns' is an empty list"),
    "an empty question": ([{"turns": ["a", ""]}], "{file}:1  column 'turns' turn 2 is empty"),
    "too few references": (
        [{"turns": ["a", "b"], "reference": ["x"]}],
        "{file}:1  column 'reference' has 1 entries for 2 turns"),
    "not JSON": ([FINE, '{"prompt": '], "{file}:2  not JSON: Expecting value at character 12"),
    "cut off": ([FINE, '{"prompt": "x'],
                "{file}:2  not JSON: Unterminated string starting at at character 12"),
    "a list": ([FINE, "[1]"], "{file}:2  not a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "message"), ROWS.values(), ids=ROWS)
def test_a_wrong_row_of_jsonl(tmp_path: Path, rows: list[Any], message: str) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    assert refused(file).message == message.format(file=file)


def test_a_missing_value_in_a_table(tmp_path: Path) -> None:
    """Rows without lines are counted."""
    rows = [{"prompt": "a", "response": "b"}, {"prompt": "c", "response": None}]
    for ending, said in (("parquet", "is missing"), ("csv", "is empty"), ("json", "is missing")):
        file = own_data.write(tmp_path, rows, ending)
        assert refused(file).message == f"{file} row 2  column 'response' {said}"


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_nan_is_a_missing_value(tmp_path: Path, ending: str) -> None:
    """It is how numpy, and JSON written by Python, have what is missing."""
    file = own_data.write(tmp_path, [{"prompt": "a", "response": float("nan")}], ending)
    assert "column 'response' is NaN: a missing value" in refused(file).message
    optional = own_data.source("file", path=str(file), columns={"prompt": "prompt"})
    assert [prompt.gold for prompt in optional.prompts()] == [None]


FILES: dict[str, tuple[str, bytes, str, str]] = {
    "no rows": ("a.jsonl", b"\n", "{file} has no rows", "docs/data.md"),
    "nothing": ("a.csv", b"", "{file} has no rows", "docs/data.md"),
    "only a header": ("a.csv", b"prompt\n", "{file} has no rows", "docs/data.md"),
    "latin 1": ("a.jsonl", b'{"prompt": "a"}\n{"prompt": "\xe9"}', "{file}:2  not UTF-8: byte 0xe9",
                "iconv -f LATIN1 -t UTF-8 a.jsonl"),
    "UTF-16": ("a.csv", "prompt\na".encode("utf-16"), "{file}:1  not UTF-8: byte 0xff",
               "iconv -f UTF-16 -t UTF-8 a.csv"),
    "cut gzip": ("a.csv.gz", gzip.compress(b"prompt\na\n" * 99)[:20],
                 "{file} is not whole gzip data: Compressed file ended before the end-of-stream"
                 " marker was reached", "fetch it again"),
    "no gzip": ("a.jsonl.gz", b"{}", "{file} is not whole gzip data: Not a gzipped file (b'{{}}')",
                "fetch it again"),
    "no Parquet": ("a.parquet", b"PAR1", "{file} is not a whole Parquet file: ", "fetch it again"),
    "a spreadsheet": ("a.xlsx", b"", "{file} is of no format that evalkit reads",
                      "it reads .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .pq"),
    "cells too many": ("a.csv", b"prompt,id\na,1\nb,2,3\n",
                       "{file} row 2  has 3 cells, and the header has 2", "mend these lines"),
    "an open quote": ("a.csv", b'prompt\n"a\n', "{file}:2  not CSV: unexpected end of data",
                      "stands in double quotes"),
    "a column twice": ("a.tsv", b"prompt\tprompt\na\tb\n", "{file} has two columns called 'prompt'",
                       "rename one of them"),
    "two lists": ("a.json", b'{"train": [], "test": []}',
                  "{file} is an object with 2 lists (train, test), not with one",
                  "write a list of objects, one per row"),
    "a number": ("a.json", b"3", "{file} is not a list of objects", "write one object per row"),
    "numbers": ("a.json", b"[3]", "{file} row 1  not a JSON object", "mend these lines"),
    "cut JSON": ("a.json", b'[{"prompt": "a"},\n', "{file}:2  not JSON: Expecting value at", ""),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message", "hint"), FILES.values(), ids=FILES)
def test_a_file_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes, message: str, hint: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    error = refused(file)
    assert error.message.startswith(message.format(file=file))
    assert hint in error.hint


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    own_data.write(tmp_path, [FINE], name="prompts")
    (problem,) = own_data.source("file", path=str(tmp_path / "promts.jsonl")).check()
    assert problem.where == "path"
    assert problem.message == f"there is no file {tmp_path / 'promts.jsonl'}"
    assert problem.hint == "did you mean 'prompts.jsonl'?   (known: prompts.jsonl)"


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"prompt": "H\\u00e4"}\n',  # a byte order mark
        b'{"prompt": "H\\u00e4"}\r\n\r\n',
        '{"prompt": "Hä"}'.encode(),
    ],
)
def test_marks_and_line_ends_of_other_systems(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    (prompt,) = own_data.source("file", path=str(file)).prompts()
    assert prompt.messages[0].content == "Hä"


def test_csv_of_other_systems(tmp_path: Path) -> None:
    """A byte order mark is no part of the first column's name; line breaks in a cell are."""
    file = tmp_path / "a.csv"
    file.write_bytes(b'\xef\xbb\xbfprompt,id\r\n"one\r\ntwo",1\r\n')
    (prompt,) = own_data.source("file", path=str(file)).prompts()
    assert prompt.messages[0].content == "one\r\ntwo"


def test_line_separators_within_json_do_not_end_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "a\u2028b"}\n', "utf-8")
    (prompt,) = own_data.source("file", path=str(file)).prompts()
    assert prompt.messages[0].content == "a\u2028b"


def test_jsonl_under_the_name_of_json(tmp_path: Path) -> None:
    file = own_data.write(tmp_path, [FINE, FINE]).rename(tmp_path / "a.json")
    assert [p.id for p in own_data.source("file", path=str(file)).prompts()] == ["row-1", "row-2"]


def test_many_faults_are_told_at_once(tmp_path: Path) -> None:
    rows = [{"prompt": ""}] * 30 + [{"prompt": 5}] * 3 + [FINE]
    file = own_data.write(tmp_path, rows)
    error = refused(file)
    assert error.message == (
        f"{file} has 33 rows that cannot be used, first {file}:1  column 'prompt' is empty"
    )
    assert len(error.problems) == 20
    problems = own_data.source("file", path=str(file)).check()
    assert [problem.where for problem in problems] == ["path"] * 20
    assert problems[19].message == f"{file}:20  column 'prompt' is empty"
    assert "bad_rows: drop" in problems[19].hint
    counts = own_data.source("file", path=str(file)).examine().faults.counts
    assert counts == {("prompt", "is empty"): 30, ("prompt", "is not a text"): 3}


def test_bad_rows_are_left_out_when_asked(tmp_path: Path) -> None:
    file = own_data.write(tmp_path, [{"prompt": ""}, FINE, {"prompt": 5}])
    source = own_data.source("file", path=str(file), bad_rows="drop")
    assert source.check() == []
    assert [prompt.id for prompt in source.prompts()] == ["row-2"]


def test_lines_that_are_no_rows_are_never_left_out(tmp_path: Path) -> None:
    """A line that is no JSON says that the file is damaged, and not that a row is bad."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "a"}\n{"pro\n')
    assert ":2  not JSON" in refused(file, bad_rows="drop").message


def test_no_rows_left_is_an_error(tmp_path: Path) -> None:
    file = own_data.write(tmp_path, [{"prompt": ""}])
    assert "column 'prompt' is empty" in refused(file, bad_rows="drop").message


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
def test_a_number_longer_than_python_reads(tmp_path: Path, ending: str) -> None:
    digits = "9" * 5000
    row = f'{{"prompt": "a", "rule": {{"kind": {digits}}}}}'
    text = {"jsonl": row, "json": f"[{row}]", "csv": f'prompt,rule\na,"[{digits}]"'}[ending]
    file = tmp_path / f"mine.{ending}"
    file.write_text(text)
    said = {"csv": f"{file} row 1  column 'rule' is no JSON", "jsonl": f"{file}:1  holds a whole"}
    assert refused(file).message.startswith(said.get(ending, f"{file}  holds a whole number of"))
