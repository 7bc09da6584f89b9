"""Recipes before they are checked: what `--set` and plug-in flags turn into, and who said what."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import RecipeError
from evalkit.recipe_document import Document, apply_overrides, key_path, plugin_data


def _document(**data: Any) -> Document:
    origins = {(key,): f"mine.yaml:{line}" for line, key in enumerate(data, start=1)}
    return Document(data, {(): "mine.yaml:1", **origins})


def test_a_key_below_what_was_set_is_said_by_the_flag() -> None:
    document = _document(seed=0, variants=["w4a16_rtn"])
    document.origins[("variants", 0)] = "mine.yaml:3"
    apply_overrides(document, ["variants=[fp-8]"])
    assert document.where(("variants", 0)) == "--set variants=[fp-8]"
    assert document.where(("seed",)) == "mine.yaml:1"


def test_a_bare_name_in_a_list_gets_options() -> None:
    document = _document(variants=["w4a16_gptq", "fp8_dynamic"])
    apply_overrides(document, ["variants.0.group_size=64"])
    assert document.data["variants"] == [{"name": "w4a16_gptq", "group_size": 64}, "fp8_dynamic"]


def test_the_next_item_of_a_list_can_be_set_and_none_beyond() -> None:
    document = _document(variants=["w4a16_rtn"])
    apply_overrides(document, ["variants.1=fp8_dynamic", "evaluation.benchmarks.0.name=mt_bench"])
    assert document.data["variants"] == ["w4a16_rtn", "fp8_dynamic"]
    assert document.data["evaluation"] == {"benchmarks": [{"name": "mt_bench"}]}
    with pytest.raises(RecipeError, match=r"the recipe has no variants\.5"):
        apply_overrides(document, ["variants.5=fp8_dynamic"])


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("rule", "rule"),
        ("lm-eval-tasks", "lm_eval_tasks"),
        ("./my-judge.py", "./my-judge.py"),
        ("a:tasks=[x,y],limit=5", {"name": "a", "tasks": ["x", "y"], "limit": 5}),
        (
            "a:s={name: pocket, split: open}",
            {"name": "a", "s": {"name": "pocket", "split": "open"}},
        ),
        ("a:s.name=pocket,s.count=3", {"name": "a", "s": {"name": "pocket", "count": 3}}),
        ("a:text='x, y',on=true", {"name": "a", "text": "x, y", "on": True}),
        ("a:model=don't,max_tokens=5", {"name": "a", "model": "don't", "max_tokens": 5}),
        ("a:text='it''s, so',n=1", {"name": "a", "text": "it's, so", "n": 1}),
        ("a:list=[don't, 'x, ]'],n=1", {"name": "a", "list": ["don't", "x, ]"], "n": 1}),
        ("a:url=http://host:1/v1", {"name": "a", "url": "http://host:1/v1"}),
    ],
)
def test_a_plugin_as_a_flag_gives_it(text: str, data: Any) -> None:
    assert plugin_data(text, "--judge") == data


@pytest.mark.parametrize("text", ["a:", "a:limit", "a:=3", "a:x=[1", "a:x=1,,y=2", "a:x='b,y=2"])
def test_options_of_another_form_are_refused_with_the_flag(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^--judge"):
        plugin_data(text, "--judge " + text)


@given(st.lists(st.integers(), max_size=4), st.text("ab, []{}", max_size=8))
def test_lists_and_quoted_texts_survive_a_flag(numbers: list[int], word: str) -> None:
    found = plugin_data(f"a:n={numbers},w='{word}',last=1", "--judge")
    assert found == {"name": "a", "n": numbers, "w": word, "last": 1}


def test_a_quote_that_stays_open_is_told() -> None:
    with pytest.raises(RecipeError, match="the quote before b,y=2 is not closed") as caught:
        plugin_data("a:x='b,y=2", "--judge")
    assert caught.value.hint


def test_only_decimal_digits_number_a_list() -> None:
    assert key_path("stages.0.²") == ("stages", 0, "²")
    with pytest.raises(RecipeError, match="has no stages"):
        apply_overrides(_document(stages=[]), ["stages.²=1"])
