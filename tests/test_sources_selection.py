"""Own data: filters, duplicates, portions, order and counts; and what changes the digest."""

from pathlib import Path
from typing import Any

import own_data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evalkit.records import Message, Prompt
from evalkit.sources.selection import Portion

ROWS = [
    {"prompt": "one", "n": 1, "lang": "en", "tags": ["a", "b"], "ok": True, "meta": {"len": 3}},
    {"prompt": "two", "n": 2, "lang": "de", "tags": [], "ok": False, "meta": {"len": 30}},
    {"prompt": "three", "n": 3.5, "lang": None, "tags": ["b"], "ok": True, "meta": None},
    {"prompt": "four hundred", "n": None, "lang": "EN", "tags": None, "ok": None, "meta": {}},
]


def taken(folder: Path, ending: str = "jsonl", rows: Any = ROWS, **options: Any) -> list[str]:
    """First words of the prompts that are taken."""
    file = own_data.write(folder, rows, ending)
    prompts = own_data.source("file", path=str(file), **options).prompts()
    return [prompt.messages[-1].content.split()[0] for prompt in prompts]


CONDITIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"column": "lang", "equals": "en"}, ["one"]),
    ({"column": "lang", "not_equals": "en"}, ["two", "three", "four"]),
    ({"column": "n", "equals": 2}, ["two"]),
    ({"column": "n", "equals": "2"}, ["two"]),
    ({"column": "ok", "equals": True}, ["one", "three"]),
    ({"column": "ok", "not_in": [True]}, ["two", "four"]),
    ({"column": "lang", "in": ["en", "de"]}, ["one", "two"]),
    ({"column": "lang", "not_in": ["en", "de"]}, ["three", "four"]),
    ({"column": "n", "in": [True, 2]}, ["two"]),
    ({"column": "prompt", "contains": "o"}, ["one", "two", "four"]),
    ({"column": "prompt", "not_contains": "o"}, ["three"]),
    ({"column": "prompt", "matches": "^t"}, ["two", "three"]),
    ({"column": "prompt", "not_matches": "^t"}, ["one", "four"]),
    ({"column": "n", "min": 2}, ["two", "three"]),
    ({"column": "n", "max": 2}, ["one", "two"]),
    ({"column": "n", "min": 1.5, "max": 3}, ["two"]),
    ({"column": "prompt", "min_chars": 5}, ["three", "four"]),
    ({"column": "prompt", "max_chars": 3}, ["one", "two"]),
    ({"column": "lang", "exists": True}, ["one", "two", "four"]),
    ({"column": "lang", "exists": False}, ["three"]),
]
NESTED: list[tuple[dict[str, Any], list[str]]] = [
    ({"column": "tags", "contains": "b"}, ["one", "three"]),
    ({"column": "tags", "exists": True}, ["one", "three"]),
    ({"column": "tags.0", "equals": "b"}, ["three"]),
    ({"column": "meta.len", "min": 10}, ["two"]),
]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(("condition", "kept"), CONDITIONS, ids=lambda value: str(value)[:50])
def test_conditions(tmp_path: Path, ending: str, condition: Any, kept: list[str]) -> None:
    """The same in every format, though the cells of a CSV are all texts."""
    assert taken(tmp_path, ending, filter=[condition]) == kept


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize(("condition", "kept"), NESTED, ids=lambda value: str(value)[:50])
def test_conditions_on_nested_values(
    tmp_path: Path, ending: str, condition: Any, kept: list[str]
) -> None:
    assert taken(tmp_path, ending, filter=[condition]) == kept


def test_all_conditions_must_hold(tmp_path: Path) -> None:
    both = [{"column": "n", "min": 2}, {"column": "ok", "equals": True}]
    assert taken(tmp_path, filter=both) == ["three"]


def test_filtered_rows_may_be_anything(tmp_path: Path) -> None:
    """What the filter leaves out need not be of the shape."""
    rows = [*ROWS, {"prompt": 5, "n": 9}]
    assert taken(tmp_path, rows=rows, filter=[{"column": "n", "max": 1}]) == ["one"]


@pytest.mark.parametrize(
    ("options", "where", "message", "hint"),
    [
        ({"filter": [{"column": "m", "min": 1}]}, "filter.0.column", "has no column 'm'",
         "known: lang, meta, n, ok, prompt, tags"),
        ({"filter": [{"column": "n", "min": 99}]}, "filter", "the filter keeps none of 4 rows", ""),
        ({"filter": [{"column": "lang", "min": 1}]}, "path",
         "column 'lang' is 'en', not a number", "bad_rows: drop"),
        ({"skip": 4}, "skip", "skips 4, and", ""),
        ({"columns": {"prompt": "promt"}}, "columns.prompt", "has no column 'promt'",
         "did you mean 'prompt'?"),
        ({"split": "train"}, "split", "is one file, which has no splits", "use portion"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_the_data(
    tmp_path: Path, options: Any, where: str, message: str, hint: str
) -> None:
    file = own_data.write(tmp_path, ROWS)
    problems = own_data.source("file", path=str(file), **options).check()
    assert problems[0].where == where
    assert message in problems[0].message
    assert hint in problems[-1].hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filter": [{"column": "n", "mn": 1}]}, "no test of a condition is called 'mn': did you"),
        ({"filter": [{"column": "n"}]}, "a condition on 'n' tests nothing: add exists: true, say"),
        ({"filter": [{"column": "n", "matches": "("}]}, "no regular expression"),
        ({"columns": {"promt": "x"}}, "there is no field 'promt': did you mean 'prompt'?"),
        ({"portion": {"keep": "train", "test_fraction": 1.5}}, "less than 1"),
    ],
)
def test_options_that_cannot_be(options: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        own_data.source("file", path="x", **options)
    assert message in str(caught.value)


def test_duplicates_are_kept_unless_asked(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "response": "1"}, {"prompt": "b", "response": "2"},
            {"prompt": "a", "response": "3"}]  # fmt: skip
    assert taken(tmp_path, rows=rows) == ["a", "b", "a"]
    assert taken(tmp_path, rows=rows, deduplicate=True) == ["a", "b"]


def test_duplicates_may_share_an_id(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "id": "x"}, {"prompt": "a", "id": "x"}]
    assert taken(tmp_path, rows=rows, deduplicate=True) == ["a"]


def test_ids_may_be_left_aside(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "id": "x"}, {"prompt": "b", "id": "x"}]
    assert taken(tmp_path, rows=rows, columns={"id": None}) == ["a", "b"]


MANY = [{"prompt": f"{n} {n % 50}", "response": str(n)} for n in range(400)]


def test_a_portion_and_its_complement_are_everything_once(tmp_path: Path) -> None:
    def part(keep: str, **changes: Any) -> list[str]:
        portion = {"keep": keep, "test_fraction": 0.2, **changes}
        return taken(tmp_path, rows=MANY, portion=portion)

    train, test = part("train"), part("test")
    assert len(train) + len(test) == 400
    assert not set(train) & set(test)
    assert 50 <= len(test) <= 110
    assert part("test", seed=1) != test


@given(text=st.text(min_size=1), seed=st.integers(0, 9), fraction=st.floats(0.05, 0.95))
def test_equal_prompts_never_straddle(text: str, seed: int, fraction: float) -> None:
    """Nor do those that only differ in blanks, or in what follows the first turn."""
    portion = Portion(keep="test", test_fraction=fraction, seed=seed)
    first = Prompt("1", (Message("user", text),))
    again = f" {text}\n"
    turns = (Message("user", again), Message("assistant", "x"), Message("user", "y"))
    assert portion.holds(first) == portion.holds(Prompt("2", turns))


def test_prompts_that_differ_in_case_never_straddle() -> None:
    portion = Portion(keep="test", test_fraction=0.5)
    for number in range(50):
        texts = (f"Name river number {number}.", f"NAME  river\nnumber {number}.")
        held = {portion.holds(Prompt("1", (Message("user", text),))) for text in texts}
        assert len(held) == 1


def test_a_prompt_stays_in_its_part_when_rows_are_added(tmp_path: Path) -> None:
    portion = {"keep": "test", "test_fraction": 0.3}
    few = taken(tmp_path, rows=MANY[:200], portion=portion)
    assert [p for p in taken(tmp_path, rows=MANY, portion=portion) if int(p) < 200] == few


def test_shuffling_skipping_and_counting(tmp_path: Path) -> None:
    order = taken(tmp_path, rows=MANY, shuffle=3)
    assert sorted(order, key=int) == [str(n) for n in range(400)]
    assert order != [str(n) for n in range(400)]
    assert order == taken(tmp_path, rows=MANY, shuffle=3)
    assert order != taken(tmp_path, rows=MANY, shuffle=4)
    assert taken(tmp_path, rows=MANY, shuffle=3, skip=10, count=5) == order[10:15]
    assert taken(tmp_path, rows=MANY, skip=398, count=5) == ["398", "399"]


def test_the_digest_follows_bytes_and_options(tmp_path: Path) -> None:
    file = own_data.write(tmp_path, MANY)

    def digest(**options: Any) -> str:
        return str(own_data.source("file", path=str(file), **options).description()["digest"])

    options: list[dict[str, Any]] = [
        {}, {"count": 1}, {"skip": 1}, {"shuffle": 0}, {"shuffle": 1}, {"deduplicate": True},
        {"bad_rows": "drop"}, {"columns": {"response": None}},
        {"portion": {"keep": "train", "test_fraction": 0.1}},
        {"portion": {"keep": "test", "test_fraction": 0.1}},
        {"filter": [{"column": "prompt", "contains": "1"}]},
        {"filter": [{"column": "prompt", "not_contains": "1"}]},
    ]  # fmt: skip
    digests = [digest(**one) for one in options]
    assert len(set(digests)) == len(options)
    assert digest(shuffle=None, skip=0) == digests[0], "options left alone change nothing"
    own_data.write(tmp_path, MANY[1:])
    assert digest() != digests[0]


def test_the_digest_is_of_contents_and_not_of_the_place(tmp_path: Path) -> None:
    def described(folder: str) -> Any:
        own_data.write(tmp_path / folder, MANY)
        return own_data.source("file", path=str(tmp_path / folder / "mine.jsonl")).description()

    assert described("a") == described("b")
    assert described("a")["name"] == "mine.jsonl"


def test_rows_left_out_are_told_once_and_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"p{max(n, 1)}", "n": n} for n in range(6)] + [{"prompt": "", "n": 1}] * 4
    file = own_data.write(tmp_path, rows)
    options = {"bad_rows": "drop", "deduplicate": True, "filter": [{"column": "n", "max": 4}]}
    for _ in range(2):
        source = own_data.source("file", path=str(file), **options)
        before = dict(source.description())
        assert len(source.prompts()) == 4
        assert source.description() == {**before, "dropped": "4 of 10 rows"}
    told = f"note: {file}: 10 rows read, 1 filtered, 4 dropped, 1 duplicate, 4 left\n"
    assert capsys.readouterr().err == told


def test_nothing_is_told_where_every_row_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = own_data.source("file", path=str(own_data.write(tmp_path, ROWS)), bad_rows="drop")
    before = source.description()
    assert len(source.prompts()) == len(ROWS)
    assert source.description() == before
    assert capsys.readouterr().err == ""


def test_equal_bytes_of_another_format_are_other_data(tmp_path: Path) -> None:
    digests = set()
    for name in ("x.csv", "x.tsv", "y.csv"):
        (tmp_path / name).write_text("prompt\na,b\n")
        digests.add(own_data.source("file", path=str(tmp_path / name)).description()["digest"])
    assert len(digests) == 2
