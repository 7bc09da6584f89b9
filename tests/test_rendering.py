"""Prompts and responses become the tokens that the tokenizer's own template emits."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from evalkit.errors import RecipeError
from evalkit.records import Message
from evalkit.rendering import (
    EXAMPLE,
    check_text,
    decode,
    end_of_turn_id,
    example_lines,
    preflight,
    prompt_token_ids,
    response_token_ids,
)

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORGETS_SYSTEM = (
    NO_SYSTEM.replace("{{ raise_exception('System role not supported') }}", "")
    .replace("{{ '<|im_start|>'", "{% if m['role'] != 'system' %}{{ '<|im_start|>'")
    .replace("'<|im_end|>\n' }}{% endfor", "'<|im_end|>\n' }}{% endif %}{% endfor")
)
UNCLOSED = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
REWRITES = "{% if add_generation_prompt %}{{ 'now answer:' }}{% else %}" + CHATML + "{% endif %}"
ASK = (Message("user", "what is 2 + 2?"),)


def tokenizer(
    template: str | None, *, bos: str | None = "<s>", adds_bos: bool = False
) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    specials = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    backend.add_special_tokens([AddedToken(token, special=True) for token in specials])
    if adds_bos:
        number = backend.token_to_id("<s>")
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", number)]
        )
    options: dict[str, Any] = {"bos_token": bos} if bos else {}
    result = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", **options)
    result.chat_template = template
    return result


def shown(tok: PreTrainedTokenizerFast, ids: tuple[int, ...]) -> str:
    return str(tok.decode(list(ids)))


def test_prompt_opens_the_answer_and_response_follows_it() -> None:
    tok = tokenizer(CHATML, bos=None)
    prompt = prompt_token_ids(tok, ASK)
    response = response_token_ids(tok, ASK, "It is 4.")
    assert shown(tok, prompt) == (
        "<|im_start|>user\nwhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert shown(tok, response) == "It is 4.<|im_end|>"
    assert decode(tok, response) == "It is 4."
    assert end_of_turn_id(tok) == tok.convert_tokens_to_ids("<|im_end|>")


def test_trailing_blanks_of_a_response_are_kept_before_its_end() -> None:
    tok = tokenizer(CHATML, bos=None)
    assert shown(tok, response_token_ids(tok, ASK, "4 \n")) == "4 \n<|im_end|>"
    assert shown(tok, response_token_ids(tok, ASK, "")) == "<|im_end|>"


def test_multi_turn_prompts_keep_earlier_answers() -> None:
    tok = tokenizer(CHATML, bos=None)
    turns = (*ASK, Message("assistant", "4"), Message("user", "and 3 + 3?"))
    assert "assistant\n4<|im_end|>" in shown(tok, prompt_token_ids(tok, turns))
    assert shown(tok, response_token_ids(tok, turns, "6")) == "6<|im_end|>"


@pytest.mark.parametrize("template", [NO_SYSTEM, FORGETS_SYSTEM])
def test_a_system_message_is_never_lost(template: str) -> None:
    tok = tokenizer(template)
    text = shown(tok, prompt_token_ids(tok, (Message("system", "Be brief."), *ASK)))
    assert text.startswith("<s><|im_start|>user\nBe brief.\n\nwhat is 2 + 2?<|im_end|>")
    kept = shown(
        tokenizer(CHATML), prompt_token_ids(tokenizer(CHATML), (Message("system", "S"), *ASK))
    )
    assert kept.startswith("<|im_start|>system\nS<|im_end|>")


def test_refused_conversations_say_so() -> None:
    strict = NO_SYSTEM.replace("System role not supported", "x").replace("'system'", "'assistant'")
    with pytest.raises(RecipeError, match="user, assistant"):
        prompt_token_ids(tokenizer(strict), (*ASK, Message("assistant", "4")))


@pytest.mark.parametrize("adds_bos", [False, True])
def test_plain_fallback_without_template(adds_bos: bool) -> None:
    tok = tokenizer(None, adds_bos=adds_bos)
    prompt, response = prompt_token_ids(tok, ASK), response_token_ids(tok, ASK, "4")
    start = "<s>" if adds_bos else ""
    assert shown(tok, prompt) == f"{start}User:\nwhat is 2 + 2?\n\nAssistant:\n"
    assert shown(tok, response) == "4</s>"
    rendered = preflight(tok)
    assert not rendered.has_template
    assert rendered.bos_count == int(adds_bos)


def test_an_unclosed_template_gets_the_end_of_text_token() -> None:
    tok = tokenizer(UNCLOSED)
    assert shown(tok, response_token_ids(tok, ASK, "4")) == "4\n</s>"


def test_response_is_tokenised_alone_where_the_prompt_is_no_prefix() -> None:
    assert shown(tokenizer(REWRITES), response_token_ids(tokenizer(REWRITES), ASK, "4")) == (
        "4<|im_end|>"
    )


def test_preflight_accepts_one_bos_and_shows_ids() -> None:
    tok = tokenizer(NO_SYSTEM, adds_bos=True)
    rendered = preflight(tok)
    assert rendered.bos_count == 1
    assert "1 BOS and one end of turn" in rendered.heading("this")
    ids = prompt_token_ids(tok, ASK)
    lines = example_lines(tok, "", {"prompt": ids})
    assert lines[0].split()[:3] == ["prompt", str(tok.bos_token_id), str(ids[1])]
    assert lines[-1].endswith("[<|im_start|>][a][s][s][i][s][t][a][n][t][\\n]'")
    assert preflight(tokenizer(CHATML)).bos_count == 0


def test_preflight_refuses_doubled_bos() -> None:
    with pytest.raises(RecipeError, match="starts with 2 BOS tokens"):
        preflight(tokenizer("{{ bos_token }}" + NO_SYSTEM, adds_bos=True))


def test_a_missing_bos_must_be_meant() -> None:
    with pytest.raises(RecipeError, match="starts without BOS"):
        preflight(tokenizer(CHATML, adds_bos=True))
    assert preflight(tokenizer(CHATML, adds_bos=True), without_bos=True).bos_count == 0


def test_preflight_refuses_doubled_end_of_turn() -> None:
    doubled = CHATML.replace("m['content'] +", "m['content'] + '<|im_end|>.' +")
    with pytest.raises(RecipeError, match="one end-of-turn"):
        preflight(tokenizer(doubled))


# --- rows of data -------------------------------------------------------------------------------

MANY_BOS = (  # as Llama 2 has it: one a turn
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + m['content'] }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)


def test_text_with_bos_of_its_own_is_refused_wherever_it_stands() -> None:
    tok = tokenizer(NO_SYSTEM)
    check_text(tok, ASK, ["4"])
    for text in ("<s>rendered before", "and <s> within"):
        with pytest.raises(RecipeError, match="2 BOS tokens in place of 1"):
            check_text(tok, (Message("user", text),))
    check_text(tokenizer(NO_SYSTEM, bos=None), (Message("user", "<s>hi"),))


def test_as_many_bos_as_the_template_writes_are_right() -> None:
    turns = (*ASK, Message("assistant", "4"), Message("user", "and 3 + 3?"))
    tok = tokenizer(MANY_BOS)
    assert prompt_token_ids(tok, turns).count(tok.bos_token_id) == 2
    check_text(tok, turns)
    with pytest.raises(RecipeError, match="3 BOS tokens in place of 2"):
        check_text(tok, (*ASK, Message("assistant", "4<s>"), *turns[2:]))


def test_a_response_with_ends_of_its_own_is_refused() -> None:
    tok = tokenizer(NO_SYSTEM)
    with pytest.raises(RecipeError, match="its response, rendered, does not end with the one"):
        check_text(tok, ASK, ["fine", "4<|im_end|>and more"])


def test_long_sequences_are_shown_by_their_ends() -> None:
    tok = tokenizer(NO_SYSTEM)
    ids = prompt_token_ids(tok, (Message("user", "x" * 500),))
    shown_ids = " ".join(example_lines(tok, "", {"prompt": ids}))
    assert f"... {len(ids) - 72} more ..." in shown_ids
    assert shown_ids.count("[x]") < 72
    assert shown_ids.split()[1] == str(tok.bos_token_id)
    assert preflight(tok).end_of_turn_id == response_token_ids(tok, EXAMPLE.messages, "x")[-1]
