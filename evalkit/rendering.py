"""Renders conversations as token ids: the one place where text becomes tokens to train on.

The tokenizer's own chat template decides; nothing is added to what it emits. Sampled
responses never come here: their ids are kept as sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from evalkit.errors import RecipeError, gist
from evalkit.records import Message

# For tokenizers without a chat template (base models such as phi-2). Roles are plain words, the
# end-of-text token closes each answer, and BOS leads where the tokenizer puts one by itself.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ 'Assistant:\n' + message['content'] + eos_token + '\n\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)
_EXAMPLE = (Message("user", "Say hello."),)
_EXAMPLE_RESPONSE = "Hello there."


class Rendered(NamedTuple):
    """One rendered example, as shown by `preflight`.

    has_template: False where PLAIN_TEMPLATE stands in for a missing chat template.
    bos_count: BOS tokens at the start of the prompt (0 or 1).
    """

    prompt_token_ids: tuple[int, ...]
    response_token_ids: tuple[int, ...]
    text: str
    has_template: bool
    bos_count: int
    end_of_turn_id: int


def prompt_token_ids(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of a conversation up to where the assistant's next response begins.

    Raises:
        RecipeError: the template refuses these messages.
    """
    return _ids(tokenizer, _accepted(tokenizer, messages), generate=True)


def response_token_ids(tokenizer: Any, messages: Sequence[Message], text: str) -> tuple[int, ...]:
    """Token ids of `text` as the response to `messages`, closed by one end-of-turn token."""
    accepted = _accepted(tokenizer, messages)
    prompt = _ids(tokenizer, accepted, generate=True)
    full = _ids(tokenizer, [*accepted, {"role": "assistant", "content": text}], generate=False)
    if full[: len(prompt)] == prompt:
        return _closed(tokenizer, full[len(prompt) :])
    # Some templates write the last turn otherwise than they open it, and some tokenizers merge
    # across the boundary: then the response is tokenised alone.
    return _closed(tokenizer, tuple(tokenizer(text, add_special_tokens=False)["input_ids"]))


def decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Text of a response, without special tokens."""
    return str(
        tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    )


def end_of_turn_id(tokenizer: Any) -> int:
    """The token that closes the assistant's turn in this tokenizer's template (EOS if it has none).

    Raises:
        RecipeError: neither the template nor the tokenizer has one.
    """
    full = _ids(
        tokenizer,
        [*_plain(_EXAMPLE), {"role": "assistant", "content": _EXAMPLE_RESPONSE}],
        generate=False,
    )
    closing = _closing(tokenizer, full)
    if closing is not None:
        return full[closing]
    if tokenizer.eos_token_id is None:
        raise RecipeError(
            "the tokenizer has no token that ends a response",
            "set eos_token in the checkpoint's tokenizer_config.json",
        )
    return int(tokenizer.eos_token_id)


def preflight(tokenizer: Any) -> Rendered:
    """A rendered example, after checking that training can rely on what the template emits.

    Raises:
        RecipeError: BOS is doubled, or a response would not end with one end of turn.
    """
    prompt = prompt_token_ids(tokenizer, _EXAMPLE)
    response = response_token_ids(tokenizer, _EXAMPLE, _EXAMPLE_RESPONSE)
    end = end_of_turn_id(tokenizer)
    found = _leading_bos(tokenizer, prompt)
    if found > 1:  # none is the template's own choice, even where plain text gets one (zephyr)
        raise RecipeError(
            f"a rendered prompt starts with {found} BOS tokens:"
            f" {list(prompt)} = {_shown(tokenizer, prompt)}",
            "mend the chat_template of the checkpoint's tokenizer: bos_token must stand in it once",
        )
    if response[-1] != end or end in response[:-1]:
        raise RecipeError(
            f"a rendered response does not end with one end-of-turn token: {list(response)}"
            f" = {_shown(tokenizer, response)}",
            "mend the chat_template of the checkpoint's tokenizer",
        )
    text = _shown(tokenizer, prompt + response)
    return Rendered(prompt, response, text, has_template(tokenizer), found, end)


def has_template(tokenizer: Any) -> bool:
    """Whether the tokenizer brings a chat template of its own."""
    return bool(getattr(tokenizer, "chat_template", None))


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _accepted(tokenizer: Any, messages: Sequence[Message]) -> list[dict[str, str]]:
    """The messages in a form that the template shows in full."""
    turns = _plain(messages)
    system = turns[0]["content"].strip() if turns and turns[0]["role"] == "system" else ""
    if system and not _shows_system(tokenizer, turns, system):
        # Templates without a system role refuse or forget it: it then opens the first user turn.
        joined = {"role": "user", "content": f"{system}\n\n{turns[1]['content']}"}
        return [joined, *turns[2:]]
    return turns


def _shows_system(tokenizer: Any, turns: list[dict[str, str]], system: str) -> bool:
    from jinja2 import TemplateError

    try:
        return system in str(_render(tokenizer, turns, generate=True, tokenize=False))
    except TemplateError:
        return len(turns) < 2 or turns[1]["role"] != "user"


def _ids(tokenizer: Any, turns: list[dict[str, str]], *, generate: bool) -> tuple[int, ...]:
    from jinja2 import TemplateError, TemplateSyntaxError

    try:
        return tuple(_render(tokenizer, turns, generate=generate, tokenize=True))
    except TemplateSyntaxError as error:
        raise RecipeError(
            f"the chat template is broken: line {error.lineno}: {gist(error)}",
            "mend the chat_template of the checkpoint's tokenizer",
        ) from error
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise RecipeError(
            f"the chat template refuses a conversation of {roles}: {error}",
            "prompts must be turns that this model's template accepts",
        ) from error


def _render(tokenizer: Any, turns: list[dict[str, str]], *, generate: bool, tokenize: bool) -> Any:
    options: dict[str, Any] = {}
    if not has_template(tokenizer):
        bos = "{{ bos_token }}" if _adds_bos(tokenizer) else ""
        options["chat_template"] = bos + PLAIN_TEMPLATE
    if tokenize:
        options["return_dict"] = False
    return tokenizer.apply_chat_template(
        turns, add_generation_prompt=generate, tokenize=tokenize, **options
    )


def _closed(tokenizer: Any, response: tuple[int, ...]) -> tuple[int, ...]:
    """A response cut behind its first closing special token, or closed if it has none."""
    closing = _closing(tokenizer, response)
    return (*response, end_of_turn_id(tokenizer)) if closing is None else response[: closing + 1]


def _closing(tokenizer: Any, token_ids: tuple[int, ...]) -> int | None:
    """Index of the first special token in the run of special and blank tokens at the end."""
    special, found = _special_ids(tokenizer), None
    for index in reversed(range(len(token_ids))):
        if token_ids[index] in special:
            found = index
        elif tokenizer.decode([token_ids[index]]).strip():
            break
    return found


def _special_ids(tokenizer: Any) -> frozenset[int]:
    added: Mapping[int, Any] = tokenizer.added_tokens_decoder
    return _special_set(
        tuple(tokenizer.all_special_ids),
        tuple(number for number, token in added.items() if token.special),
    )


@lru_cache(maxsize=32)
def _special_set(own: tuple[int, ...], added: tuple[int, ...]) -> frozenset[int]:
    return frozenset(own) | frozenset(added)


def _adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts BOS before plain text by itself."""
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def _leading_bos(tokenizer: Any, token_ids: tuple[int, ...]) -> int:
    count = 0
    while count < len(token_ids) and token_ids[count] == tokenizer.bos_token_id:
        count += 1
    return count


def _shown(tokenizer: Any, token_ids: Sequence[int]) -> str:
    return repr("".join(f"[{tokenizer.decode([token_id])}]" for token_id in token_ids))
