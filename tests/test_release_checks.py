"""What in a card blocks its publication, and the datasets of pairs beside the models."""

import dataclasses
import json
from pathlib import Path

import card_families
import pytest

from evalkit import frontmatter
from evalkit.errors import Problem
from evalkit.family import Family
from evalkit.pipeline.pair_datasets import pairs
from evalkit.pipeline.release_checks import problems
from evalkit.records import Message, Prompt, PromptGroup, Response


@pytest.fixture
def family() -> Family:
    return card_families.pocket_family()


def found(family: Family, name: str, folder: Path, text: str, base: Path | None = None) -> str:
    """The problems of a member's card, a line each."""
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text(text)
    return "\n".join(map(_line, problems(family, family.member(name), folder, base)))


def _line(problem: Problem) -> str:
    return f"{problem.where} {problem.message} {problem.hint}"


def test_every_error_of_lint_blocks(family: Family, tmp_path: Path) -> None:
    text = card_families.card(family, "iter2")
    spoiled = text + "\n[the plan](plan_of_the_work.md)\n"
    before = set(found(family, "iter2", tmp_path / "x", text).splitlines())
    new = set(found(family, "iter2", tmp_path / "x", spoiled).splitlines()) - before
    [line] = new
    assert "README.md:" in line
    assert "EK502" in line
    assert "plan_of_the_work.md" in line


def test_a_card_names_its_whole_family(family: Family, tmp_path: Path) -> None:
    text = card_families.card(family, "iter1")
    assert "sibling" not in found(family, "iter1", tmp_path / "x", text)
    sibling = family.member("iter2-fp8_dynamic").repo_id
    assert sibling is not None
    cut = text.replace(sibling, "elsewhere/else")
    assert f"does not link its sibling {sibling}" in found(family, "iter1", tmp_path / "x", cut)


def test_an_iteration_that_was_superseded_says_by_which(family: Family, tmp_path: Path) -> None:
    text = card_families.card(family, "iter1")
    newest = family.member("iter2").repo_id
    assert frontmatter.parse(text).metadata["new_version"] == newest
    assert "superseded" not in found(family, "iter1", tmp_path / "x", text)
    without = text.replace(f"new_version: {newest}\n", "")
    assert f"is superseded by {newest}" in found(family, "iter1", tmp_path / "x", without)


def test_the_licence_of_the_base_that_was_used_is_what_counts(
    family: Family, tmp_path: Path
) -> None:
    """Lint is given the card that lies beside the base's weights."""
    base = family.members[0]
    found_elsewhere = dataclasses.replace(base.checkpoint, revision="0" * 40)
    foreign = dataclasses.replace(
        base, built="", repo_id=None, title="Base-1B", checkpoint=found_elsewhere
    )
    family = dataclasses.replace(
        family, members=(foreign, *family.members[1:]), base_source="acme/Base-1B"
    )
    text = card_families.card(family, "iter1")
    theirs = tmp_path / "base"
    theirs.mkdir()
    (theirs / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# acme/Base-1B\n")
    assert "cc-by-nc-4.0" not in found(family, "iter1", tmp_path / "x", text)
    assert "cc-by-nc-4.0" in found(family, "iter1", tmp_path / "x", text, theirs)


def group(*texts: str, win_probs: tuple[float, ...] | None = None, gold: str = "") -> PromptGroup:
    given = [Response(text, (1, 2), "stop") for text in texts]
    given += [Response(gold, (1, 2), "gold")] if gold else []
    prompt = Prompt("p1", (Message("user", "Sort: b a"),))
    return PromptGroup(prompt, (1,), tuple(given), win_probs=win_probs)


def test_pairs_of_judged_responses_are_the_best_and_the_worst() -> None:
    [row] = pairs([group("x", "y", "z", win_probs=(0.5, 0.1, 0.9))])
    assert row["prompt"] == [{"role": "user", "content": "Sort: b a"}]
    assert row["chosen"] == [{"role": "assistant", "content": "z"}]
    assert row["rejected"] == [{"role": "assistant", "content": "y"}]
    assert (row["chosen_win_probability"], row["rejected_win_probability"]) == (0.9, 0.1)
    json.dumps(row, allow_nan=False)


def test_pairs_of_self_play_set_the_data_against_the_model() -> None:
    rows = list(pairs([group("x", "a b", gold="a b"), group("x", "y", gold="a b")]))
    assert [row["rejected"][0]["content"] for row in rows] == ["x", "x", "y"]
    assert {row["chosen"][0]["content"] for row in rows} == {"a b"}


def test_groups_without_a_difference_give_no_pair() -> None:
    assert not list(pairs([group("x", "x", win_probs=(0.5, 0.5)), group("x")]))
    assert not list(pairs([dataclasses.replace(group("x"), win_probs=(0.5,))]))
