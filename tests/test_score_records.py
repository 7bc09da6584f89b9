"""Score records: what they refuse, how they are named, and that a card rests on them alone."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from card_families import pocket_family

from evalkit import frontmatter
from evalkit.cards import Book, build_card, records_of
from evalkit.errors import CardError
from evalkit.fingerprint import fingerprint
from evalkit.recipe_document import plugin_data, plugin_text
from evalkit.records import Score, from_json, to_json
from evalkit.score_records import (
    FOLDER,
    INDEX,
    REQUIRED,
    Origin,
    ScoreRecord,
    is_unknown,
    read_store,
    unknown,
    write_store,
)

SCORE = Score("gsm8k", "exact_match", 61.25, 1319, "percent", 1.3, 58.6, 63.8,
              settings={"few_shot": 5})  # fmt: skip
SOURCES: dict[Origin, dict[str, Any]] = {
    "measured": {
        "weights": "a" * 64, "data": "b" * 64, "harness": "lm-eval 0.4.13", "few_shot": 5,
        "chat_template": None, "judge": None, "seed": 0, "interval": "95 %: Wilson",
        "command": "evalkit evaluate org/model --benchmark lm_eval_tasks",
    },
    "imported": {
        "tool": "lm-eval", "file": "results.json", "sha256": "c" * 64, "model": "m", "stated": {},
    },
    "reported": {"url": "https://example.org/model", "date": "2024-06-29"},
}  # fmt: skip
CASES = [(origin, key) for origin, keys in REQUIRED.items() for key in keys]


def record(origin: Origin, **changes: Any) -> ScoreRecord:
    return ScoreRecord("Mine", "lm_eval_tasks", SCORE, origin, {**SOURCES[origin], **changes})


@pytest.mark.parametrize("origin", SOURCES)
def test_a_whole_record_is_named_by_its_text_and_read_back(origin: Origin) -> None:
    one = record(origin)
    again = from_json(ScoreRecord, json.loads(json.dumps(to_json(one))))
    assert again == one
    assert again.digest == one.digest == fingerprint(one)
    assert record(origin, more="said").digest != one.digest


@pytest.mark.parametrize(("origin", "key"), CASES)
def test_what_an_origin_requires_cannot_be_left_out(origin: Origin, key: str) -> None:
    source = {name: value for name, value in SOURCES[origin].items() if name != key}
    with pytest.raises(CardError, match=f"{origin}, does not say '{key}'"):
        ScoreRecord("Mine", "lm_eval_tasks", SCORE, origin, source)
    for nothing in ("", {"unknown": ""}):
        with pytest.raises(CardError, match=f"does not say '{key}'"):
            record(origin, **{key: nothing})
    assert is_unknown(record(origin, **{key: unknown("nobody wrote it down")}).source[key])


@pytest.mark.parametrize("key", sorted(set(REQUIRED["measured"]) - {"chat_template", "judge"}))
def test_only_a_template_and_a_judge_may_be_none(key: str) -> None:
    with pytest.raises(CardError, match=f"does not say '{key}'"):
        record("measured", **{key: None})


def test_unknown_needs_a_reason() -> None:
    with pytest.raises(CardError, match="without a reason"):
        unknown(" ")


@pytest.mark.parametrize("field", ["value", "stderr", "ci_low", "ci_high"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_are_finite(field: str, number: float) -> None:
    score = replace(SCORE, **{field: number})  # type: ignore[arg-type]
    with pytest.raises(CardError, match="exact_match of gsm8k"):
        ScoreRecord("Mine", "lm_eval_tasks", score, "measured", SOURCES["measured"])


def test_a_measurement_of_nothing_is_none() -> None:
    with pytest.raises(CardError, match="on no items"):
        ScoreRecord("M", "b", replace(SCORE, n=0), "measured", SOURCES["measured"])


# --- a family's records -----------------------------------------------------------------------


def test_every_score_of_a_family_has_a_record() -> None:
    family = pocket_family()
    records = list(records_of(family))
    scores = [s for m in family.members for r in m.results for s in r.scores]
    assert [one.score.value for one in records] == [score.value for score in scores]
    assert {one.origin for one in records} == {"measured"}
    first = records[0].source
    assert first["harness"] == "lm-eval 0.4.13"
    assert first["data"] == "d" * 64  # of this task alone
    assert first["weights"] == family.members[0].checkpoint.digest
    judged = next(one for one in records if one.benchmark == "mt_bench")
    assert judged.source["judge"] == {"name": "rule", "version": 1}
    assert judged.source["harness"] == "evalkit 0.1.0"


def test_a_command_that_measures_it_again() -> None:
    asked = {"name": "lm_eval_tasks", "tasks": ["gsm8k", "a,b"], "num_fewshot": {"gsm8k": 5},
             "limit": None, "include_path": "/home/me/tasks"}  # fmt: skip
    recipe = {"seed": 3, "engine": "transformers",
              "evaluation": {"judge": "rule", "benchmarks": [asked]}}  # fmt: skip
    family = replace(pocket_family(), recipe={**pocket_family().recipe, **recipe})
    found = next(iter(records_of(family))).source["command"]
    assert found.startswith("evalkit evaluate pocket/Pocket-SPPO-Base --benchmark 'lm_eval_tasks:")
    assert found.endswith("--judge rule --engine transformers --set seed=3")
    assert "/home/me" not in found


@pytest.mark.parametrize(
    "data",
    ["rule", {"name": "a"}, {"name": "a", "b": [1, "x,y", None], "c": {"d": "e'\"f"}, "g": True}],
)
def test_a_plugin_as_text_reads_back(data: Any) -> None:
    assert plugin_data(plugin_text(data), "--benchmark") in (data, data["name"] if
                                                             len(data) == 1 else data)  # fmt: skip


# --- a card rests on them ---------------------------------------------------------------------


def built(folder: Path, name: str = "iter2") -> Book:
    family = pocket_family()
    book = Book(records_of(family))
    folder.mkdir(exist_ok=True)
    text = build_card(family, family.member(name), book=book)
    (folder / "README.md").write_text(text, "utf-8")
    write_store(folder, book.records, book.citations)
    return book


def test_every_number_of_a_card_resolves_to_a_record(tmp_path: Path) -> None:
    built(tmp_path)
    store = read_store(tmp_path)
    assert store is not None
    text = (tmp_path / "README.md").read_text()
    entries = frontmatter.parse(text).metadata["model-index"][0]["results"]
    stated = {str(metric["value"]) for entry in entries for metric in entry["metrics"]}
    own = [one for one in store.citations if one.model == "Pocket-SPPO-Iter2"]
    assert stated <= {one.shown for one in own}
    for one in store.citations:
        (digest,) = one.records
        value = store.records[digest].score.value
        decimals = len(one.shown.partition(".")[2])
        assert f"{value:.{decimals}f}" == one.shown
    linked = {digest for digest in store.records if f"[measured]({FOLDER}/{digest}.json)" in text}
    shown = {digest for one in own for digest in one.records}
    assert linked == shown
    titles = {one.model for one in store.records.values()}
    assert len(titles) == 5  # the table shows the whole family


@pytest.mark.parametrize("change", [lambda r: None, lambda r: replace(r, score=replace(
    r.score, value=r.score.value + 0.001))])  # fmt: skip
@pytest.mark.parametrize("which", [0, 15, 17, -1])
def test_without_its_record_a_card_is_not_rendered(
    which: int, change: Callable[[ScoreRecord], ScoreRecord | None]
) -> None:
    family = pocket_family()
    records = list(records_of(family))
    own = [one for one in records if one.model == "Pocket-SPPO-Iter2-FP8-Dynamic"]
    gone = own[which % len(own)]
    other = change(gone)
    kept = [one for one in records if one is not gone] + ([other] if other else [])
    with pytest.raises(CardError, match=f"no record says {gone.score.value}"):
        build_card(family, family.member("iter2-fp8_dynamic"), book=Book(kept))


def test_a_record_that_was_altered_is_found_out(tmp_path: Path) -> None:
    built(tmp_path)
    file = next(one for one in (tmp_path / FOLDER).glob("*.json") if one.name != INDEX)
    file.write_text(file.read_text().replace('"n":', '"n": '))
    with pytest.raises(CardError, match="was altered"):
        read_store(tmp_path)


def test_a_record_that_is_gone_is_missed(tmp_path: Path) -> None:
    book = built(tmp_path)
    (tmp_path / FOLDER / f"{book.citations[0].records[0]}.json").unlink()
    with pytest.raises(CardError, match="is gone: the card's"):
        read_store(tmp_path)
    (tmp_path / FOLDER / INDEX).unlink()
    with pytest.raises(CardError, match=f"{INDEX} is gone"):
        read_store(tmp_path)


def test_equal_families_give_equal_folders(tmp_path: Path) -> None:
    built(tmp_path / "a")
    built(tmp_path / "b")
    a, b = (
        {file.name: file.read_bytes() for file in (tmp_path / one / FOLDER).iterdir()}
        for one in "ab"
    )
    assert a == b
