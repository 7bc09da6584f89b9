"""The pocket source: splits as prompts and questions."""

from pathlib import Path
from typing import Any

import pytest

from evalkit import registry
from evalkit.errors import RecipeError
from evalkit.pipeline import plugins
from evalkit.pocket.kinds import EXACT_NAMES, OPEN_NAMES
from evalkit.roles import PluginRef
from evalkit.rules import check


def source(name: str, **options: Any) -> Any:
    plugin = registry.load("sources", name)
    return plugin(plugin.Options(**options))


def test_prompts_carry_gold_and_a_rule_that_gold_satisfies() -> None:
    prompts = source("pocket", split="self_play", count=160).prompts()
    assert {prompt.category for prompt in prompts} == {*EXACT_NAMES, *OPEN_NAMES}
    assert len({prompt.id for prompt in prompts}) == 160
    for prompt in prompts:
        assert prompt.gold is not None
        assert prompt.rule is not None
        assert check(prompt.rule, prompt.gold) == 1.0
        assert [message.role for message in prompt.messages] == ["user"]


def test_open_prompts_are_not_among_those_trained_on() -> None:
    opened = source("pocket", split="open", count=200).prompts()
    assert {prompt.category for prompt in opened} == set(OPEN_NAMES)
    trained = source("pocket", split="self_play", count=2500).prompts()
    assert not {prompt.id for prompt in opened} & {prompt.id for prompt in trained}


def test_questions_have_two_turns_with_references_and_rules() -> None:
    two_turn = source("pocket", split="two_turn", count=20)
    for question in two_turn.questions():
        assert len(question.turns) == 2
        for turn in question.turns:
            assert turn.rule is not None
            assert turn.reference is not None
            assert check(turn.rule, turn.reference) == 1.0
    assert len(two_turn.prompts()) == 20


def test_only_the_two_turn_split_has_questions() -> None:
    with pytest.raises(RecipeError, match="has no two-turn questions"):
        source("pocket", split="held_out", count=4).questions()


def test_kinds_narrow_the_draw() -> None:
    prompts = source("pocket", split="held_out", count=6, kinds=["copy", "sort"]).prompts()
    assert [prompt.category for prompt in prompts] == ["copy", "sort"] * 3


def test_the_digest_is_that_of_what_is_drawn() -> None:
    options = {"split": "held_out", "count": 12}
    description = source("pocket", **options).description()
    assert description["name"] == "pocket/held_out"
    assert description == source("pocket", **options).description()
    assert description != source("pocket", **options, seed=1).description()


def test_problems_are_seen_before_the_run() -> None:
    (unknown,) = source("pocket", split="held_out", kinds=["sorted"]).check()
    (too_many,) = source("pocket", split="held_out", count=9999, kinds=["describe"]).check()
    assert (unknown.where, "sort" in unknown.hint) == ("kinds", True)
    assert too_many.where == "count"
    assert source("pocket", split="self_play", count=3000).check() == []


def test_where_a_file_lies_decides_nothing(tmp_path: Path) -> None:
    found = []
    for folder in (tmp_path, tmp_path / "moved"):
        folder.mkdir(exist_ok=True)
        (folder / "mine.jsonl").write_text('{"prompt": "Hi"}\n')
        ref = PluginRef(name="file", path=str(folder / "mine.jsonl"))
        found.append((plugins.settings("sources", ref), plugins.make("sources", ref).description()))
    assert found[0] == found[1]
