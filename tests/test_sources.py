"""Sources: pocket splits as prompts and questions, and a JSONL file of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit import registry
from evalkit.errors import RecipeError
from evalkit.pocket.kinds import EXACT_NAMES, OPEN_NAMES
from evalkit.records import Message
from evalkit.rules import check


def source(name: str, **options: Any) -> Any:
    plugin = registry.load("sources", name)
    return plugin(plugin.Options(**options))


# --- pocket ---------------------------------------------------------------------------------


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


# --- jsonl ----------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """A function that writes rows to a file and gives a source that reads them."""

    def write(*rows: Any, **options: Any) -> Any:
        file = tmp_path / "mine.jsonl"
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        file.write_text("\n".join(lines) + "\n", "utf-8")
        return source("jsonl", path=str(file), **options)

    return write


def test_the_three_shapes(written: Any) -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    prompts = written(
        {"prompt": "Hi"},
        {"prompt": "Hi", "response": "Hello", "id": "mine", "category": "greeting"},
        "",
        {"messages": [{"role": "system", "content": "Be kind."}, *said]},
        {"messages": said[:1]},
        {"prompt": "Hi", "chosen": "Hello", "rejected": "What?"},
        {"prompt": said[:1], "chosen": said, "rejected": said[1:]},
    ).prompts()
    assert [prompt.gold for prompt in prompts] == [None, "Hello", "Hello", None, "Hello", "Hello"]
    assert [prompt.rejected for prompt in prompts] == [None, None, None, None, "What?", "Hello"]
    assert [prompt.id for prompt in prompts][:3] == ["row-1", "mine", "row-4"]
    assert prompts[2].messages == (Message("system", "Be kind."), Message("user", "Hi"))
    assert prompts[1].category == "greeting"


def test_questions_of_several_turns(written: Any) -> None:
    (question,) = written(
        {"id": "q", "turns": ["Hi", "And?"], "references": [None, "x"]}
    ).questions()
    assert [turn.content for turn in question.turns] == ["Hi", "And?"]
    assert [turn.reference for turn in question.turns] == [None, "x"]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{"prompt": ', "not JSON"),
        ([1], "not a JSON object"),
        ({"text": "Hi"}, "neither `prompt` nor `messages`"),
        ({"prompt": 3}, "neither a text nor a list of messages"),
        ({"prompt": "Hi", "chosen": "Hello"}, "`rejected` is neither a text nor a list"),
        ({"messages": [{"role": "bot", "content": "Hi"}]}, "has the role 'bot'"),
        ({"messages": [{"role": "user"}]}, "no text `content`"),
        ({"messages": []}, "does not end in a user turn"),
        ({"prompt": "Hi", "rule": "exact"}, "`rule` is not a mapping"),
        ({"prompt": "Again", "id": "row-1"}, "the id 'row-1' is already that of line 1"),
    ],
)
def test_errors_name_file_and_line(written: Any, row: Any, complaint: str) -> None:
    broken = written({"prompt": "fine"}, row)
    with pytest.raises(RecipeError) as caught:
        broken.prompts()
    assert "mine.jsonl:2  " in caught.value.message
    assert complaint in caught.value.message
    (problem,) = broken.check()
    assert problem.message == caught.value.message


def test_a_missing_or_empty_file_is_a_problem(tmp_path: Path, written: Any) -> None:
    (missing,) = source("jsonl", path=str(tmp_path / "none.jsonl")).check()
    assert "No such file" in missing.message
    (empty,) = written("").check()
    assert "has no rows" in empty.message


def test_the_digest_follows_the_bytes_and_the_count(written: Any) -> None:
    first = written({"prompt": "Hi"}, {"prompt": "Ho"})
    assert first.description()["name"] == "mine.jsonl"
    digests = {first.description()["digest"]}
    digests.add(written({"prompt": "Hi"}, {"prompt": "Ho"}, count=1).description()["digest"])
    digests.add(written({"prompt": "Hi"}, {"prompt": "Hu"}).description()["digest"])
    assert len(digests) == 3
    assert len(written({"prompt": "Hi"}, {"prompt": "Ho"}, count=1).prompts()) == 1
