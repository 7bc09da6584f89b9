"""One renderer for the templates of seven families: BOS, ends of turns, systems, prefixes."""

from __future__ import annotations

from typing import Any

import pytest
from chat_templates import FAMILIES, tokenizer_of
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import RecipeError
from evalkit.records import Message
from evalkit.rendering import (
    EXAMPLE,
    bos_is_missing,
    conversation_token_ids,
    decode,
    end_of_turn_id,
    example_lines,
    preflight,
    prompt_token_ids,
    response_token_ids,
)

TOKENIZERS: dict[str, Any] = {name: tokenizer_of(family) for name, family in FAMILIES.items()}
TURNS = (Message("user", "Hi."), Message("assistant", "Yes."), Message("user", "Why?"))
SYSTEM = Message("system", "Be brief.")
every_family = pytest.mark.parametrize("name", FAMILIES)


def text(name: str, ids: tuple[int, ...]) -> str:
    return str(TOKENIZERS[name].decode(list(ids)))


@every_family
def test_several_turns_are_rendered_as_the_template_says(name: str) -> None:
    assert text(name, prompt_token_ids(TOKENIZERS[name], TURNS)) == FAMILIES[name].rendered


@every_family
def test_a_response_has_one_end_of_turn(name: str) -> None:
    tokenizer, end = TOKENIZERS[name], FAMILIES[name].end_of_turn
    assert text(name, response_token_ids(tokenizer, TURNS, "Because.")) == f"Because.{end}"
    assert end_of_turn_id(tokenizer) == tokenizer.convert_tokens_to_ids(end)


@every_family
def test_a_system_message_is_said_in_its_role_or_in_the_first_turn(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    said = text(name, prompt_token_ids(tokenizer, (SYSTEM, *TURNS)))
    assert said.count("Be brief.") == 1
    assert said.index("Be brief.") < said.index("Hi.")
    assert ("Be brief.\n\nHi." in said) == (FAMILIES[name].system == "folded")
    assert "You are a helpful assistant." not in said  # Qwen's own gives way


@every_family
def test_a_system_message_that_the_user_repeats_is_not_lost(name: str) -> None:
    turns = (SYSTEM, Message("user", "Be brief. Hi."))
    assert text(name, prompt_token_ids(TOKENIZERS[name], turns)).count("Be brief.") == 2


@every_family
def test_bos_is_there_once_where_the_tokenizer_emits_it(name: str) -> None:
    tokenizer, family = TOKENIZERS[name], FAMILIES[name]
    if name == "zephyr":
        assert bos_is_missing(tokenizer)
        with pytest.raises(RecipeError) as error:
            preflight(tokenizer)
        assert "starts without BOS (<s>)" in error.value.message
        ids = prompt_token_ids(tokenizer, (Message("user", "Say hello."),))
        assert str(list(ids)) in error.value.message
        assert "add 'without_bos: true' to 'base'" in error.value.hint
        assert preflight(tokenizer, without_bos=True).bos_count == 0
        return
    rendered = preflight(tokenizer)
    assert rendered.bos_count == int(family.adds_bos)
    assert not bos_is_missing(tokenizer)
    if family.adds_bos:
        with pytest.raises(RecipeError, match=r"says base\.without_bos, but"):
            preflight(tokenizer, without_bos=True)


@every_family
def test_an_example_s_ids_are_shown(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    prompt = prompt_token_ids(tokenizer, EXAMPLE.messages)
    response = response_token_ids(tokenizer, EXAMPLE.messages, EXAMPLE.gold or "")
    lines = example_lines(tokenizer, "", {"prompt": prompt, "gold": response})
    shown = " ".join(lines).split()
    assert shown[: len(prompt) + 2] == ["prompt", *map(str, prompt), "as"]
    gold = shown.index("gold")
    assert shown[gold + 1 : gold + 2 + len(response)] == [*map(str, response), "as"]
    assert f"[{FAMILIES[name].end_of_turn}]" in "".join(shown)


contents = st.text(
    st.sampled_from("Hi. \nyWhé?我'\"{}<|"), min_size=1, max_size=12
).filter(str.strip)  # fmt: skip
conversations = st.lists(st.tuples(contents, contents), max_size=2)


@settings(max_examples=40, deadline=None)
@given(conversations, contents, contents, st.booleans())
@every_family
def test_prompt_and_response_are_what_the_whole_conversation_renders(
    name: str, earlier: list[tuple[str, str]], asked: str, answer: str, with_system: bool
) -> None:
    tokenizer, family = TOKENIZERS[name], FAMILIES[name]
    turns = [SYSTEM] if with_system else []
    for user, assistant in earlier:
        turns += [Message("user", user), Message("assistant", assistant)]
    turns.append(Message("user", asked))
    prompt = prompt_token_ids(tokenizer, turns)
    response = response_token_ids(tokenizer, turns, answer)
    end = tokenizer.convert_tokens_to_ids(family.end_of_turn)
    assert response[-1] == end
    assert end not in response[:-1]
    assert decode(tokenizer, response).strip() == answer.strip()
    whole = conversation_token_ids(tokenizer, [*turns, Message("assistant", answer)])
    if name == "zephyr":
        assert whole[0] == tokenizer.bos_token_id  # for models that read: the tokenizer's own
        whole = whole[1:]
    if whole[: len(prompt)] == prompt:  # else a token spans the boundary
        assert whole[: len(prompt + response)] == prompt + response
        assert not tokenizer.decode(whole[len(prompt + response) :]).strip()
    else:
        assert answer[0] in "\n ", "only a merge with a blank moves the boundary here"
