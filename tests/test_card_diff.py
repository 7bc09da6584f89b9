"""`card diff`: what changed between two versions of a card, and between siblings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from card_families import card as card_of
from card_families import changed, lm_eval_result, pocket_family, standard_score

from evalkit.card_diff import Change, changes
from evalkit.card_reading import read
from evalkit.cli import main

BEFORE = """\
---
license: gemma
base_model: google/gemma-2-9b-it
tags: [sppo]
---
# Mine

| Model | GSM8K (5-shot) | HellaSwag (10-shot) |
| --- | ---: | ---: |
| **Mine** | **61.2** | 80.1 |
| Other | 50.0 | 75.0 |

## Results

See [the paper](https://arxiv.org/abs/2405.00675).
"""
AFTER = """\
---
license: apache-2.0
base_model: google/gemma-2-9b-it
datasets: [a/b]
tags: [sppo]
---
# Mine

| Model | GSM8K (5-shot) | ARC (25-shot) |
| --- | ---: | ---: |
| **Mine** | **63.75** | 64.0 |
| Other | 50.0 | |

## Limitations

See [the code](https://github.com/a/b).
"""


def found(a: str, b: str) -> list[Change]:
    return changes(read(a), read(b))


def test_every_kind_of_change() -> None:
    assert found(BEFORE, AFTER) == [
        Change("licence", "license", "gemma", "apache-2.0", lines=(2, 2)),
        Change("metadata", "datasets", "", "a/b", lines=(0, 4)),
        Change("figure", "gsm8k (5-shot)", "61.2", "63.75", "+2.55", (10, 11)),
        Change("figure", "hellaswag (10-shot)", "80.1", "", lines=(10, 0)),
        Change("figure", "Other hellaswag (10-shot)", "75.0", "", lines=(11, 0)),
        Change("figure", "arc_challenge (25-shot)", "", "64.0", lines=(0, 11)),
        Change("section", "Results", "there", "", lines=(13, 0)),
        Change("section", "Limitations", "", "there", lines=(0, 14)),
        Change("link", "https://arxiv.org/abs/2405.00675", "there", "", lines=(15, 0)),
        Change("link", "https://github.com/a/b", "", "there", lines=(0, 16)),
    ]


def test_the_other_way_round_is_the_reverse() -> None:
    there, back = found(BEFORE, AFTER), found(AFTER, BEFORE)
    assert {(one.what, one.before, one.after) for one in there} == {
        (one.what, one.after, one.before) for one in back
    }
    assert next(one.by for one in back if one.by) == "-2.55"


@pytest.mark.parametrize("text", [BEFORE, card_of(pocket_family(), "iter2"), ""])
def test_a_card_does_not_differ_from_itself(text: str) -> None:
    assert found(text, text) == []


def test_more_decimals_of_the_same_number_are_no_change() -> None:
    assert not [one for one in found(BEFORE, BEFORE.replace("61.2", "61.23"))]
    assert [one.what for one in found(BEFORE, BEFORE.replace("61.2", "61.27"))]


def test_versions_of_a_built_card_differ_in_one_number() -> None:
    family = pocket_family()
    cards = [
        card_of(changed(family, "base", results=(lm_eval_result("base", score),)), "base")
        for score in (
            standard_score("gsm8k", "exact_match", 5, 1319, value) for value in (61.25, 60.0)
        )
    ]
    figures = [one for one in found(*cards) if one.kind == "figure"]
    assert [(one.before, one.after, one.by) for one in figures] == [("61.25", "60.0", "-1.25")]
    assert not [one for one in found(*cards) if one.kind == "link"]


def test_siblings_are_compared_model_with_model() -> None:
    """A row that one card has of the other's model says the same as that: no difference."""
    family = pocket_family()
    one, other = (card_of(family, name) for name in ("iter1", "iter2"))
    told = found(one, other)
    figures = {change.what: change for change in told if change.kind == "figure"}
    assert figures["pocket_exact exact_match (0-shot)"].by == "+14.00"
    assert not [what for what in figures if "Pocket-SPPO" in what]
    assert [c.after for c in told if c.what == "base_model"] == ["pocket/Pocket-SPPO-Iter1"]


Files = Callable[[str, str], tuple[Path, Path]]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Two cards, one as a file and one in a folder."""

    def write(a: str, b: str) -> tuple[Path, Path]:
        (tmp_path / "a.md").write_text(a)
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "README.md").write_text(b)
        return tmp_path / "a.md", tmp_path / "b"

    return write


def test_the_command(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(file) for file in files(BEFORE, AFTER)]
    main_exit(["card", "diff", *names])
    out = capsys.readouterr().out
    assert "licence   license" in out
    assert "+2.55" in out
    main_exit(["card", "diff", *names, "--json"])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["changes"][0]["kind"] == "licence"
    main_exit(["card", "diff", names[0], names[0]])
    assert capsys.readouterr().out == "no difference\n"


def test_no_such_card(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["card", "diff", "nowhere.md", "nowhere.md"])
    assert caught.value.code == 1
    assert "there is no card nowhere.md" in capsys.readouterr().err


def main_exit(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert not caught.value.code
