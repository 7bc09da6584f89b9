"""Renders conversations as token ids: the one place where text becomes tokens to train on.

The tokenizer's own chat template decides; nothing is added to what it emits. Sampled
responses never come here: their ids are kept as sampled.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from evalkit.errors import RecipeError, gist
from evalkit.records import Message, Prompt

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
_MARKER = "[what the system message says]"  # stands nowhere else in a conversation
LINE_CHARACTERS = 100  # of what is shown to people
_SHOWN_FIRST, _SHOWN_LAST = 48, 24  # tokens of a long sequence
_EXAMPLE = (Message("user", "Say hello."),)
_EXAMPLE_RESPONSE = "Hello there."
EXAMPLE = Prompt("example", _EXAMPLE, gold=_EXAMPLE_RESPONSE, rejected="Go away.")


class Rendered(NamedTuple):
    """What `preflight` found of a tokenizer.

    has_template: False where PLAIN_TEMPLATE stands in for a missing chat template.
    bos_count: BOS tokens at the start of a prompt (0 or 1).
    """

    has_template: bool
    bos_count: int
    end_of_turn_id: int

    def heading(self, what: str) -> str:
        """How `what` is rendered, in a line that its token ids stand below."""
        origin = (
            "the chat template" if self.has_template else "the plain template (none of its own)"
        )
        return (
            f"{origin} renders {what} so, with {self.bos_count} BOS and one end of turn"
            f" ({self.end_of_turn_id}):"
        )


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


def conversation_token_ids(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of a whole conversation, with one BOS where the tokenizer emits it.

    For models that read what another wrote. How often the template itself writes BOS plays no
    part: such models were trained on text that the tokenizer began.

    Raises:
        RecipeError: the template refuses these messages.
    """
    ids = _ids(tokenizer, _accepted(tokenizer, messages), generate=False)
    found = _leading_bos(tokenizer, ids)
    wanted = 1 if found or _adds_bos(tokenizer) else 0
    return ((tokenizer.bos_token_id,) * wanted) + ids[found:]


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


def preflight(tokenizer: Any, without_bos: bool = False) -> Rendered:
    """How a tokenizer renders, after checking that training can rely on what its template emits.

    without_bos: it is meant that prompts begin without the BOS that other text begins with.

    Raises:
        RecipeError: BOS is doubled or missing, or a response would not end with one end of turn.
    """
    prompt = prompt_token_ids(tokenizer, _EXAMPLE)
    response = response_token_ids(tokenizer, _EXAMPLE, _EXAMPLE_RESPONSE)
    end = end_of_turn_id(tokenizer)
    found = _leading_bos(tokenizer, prompt)
    _check_bos(tokenizer, prompt, found, without_bos)
    if response[-1] != end or end in response[:-1]:
        raise RecipeError(
            f"a rendered response does not end with one end-of-turn token: {list(response)}"
            f" = {shown(tokenizer, response)}",
            "mend the chat_template of the checkpoint's tokenizer",
        )
    return Rendered(has_template(tokenizer), found, end)


def check_text(tokenizer: Any, messages: Sequence[Message], responses: Sequence[str] = ()) -> None:
    """Checks that the text of a row of data adds no BOS, and no end of turn within a response.

    Text that some template has rendered before does. How many BOS the template writes by itself
    (some write one a turn) is counted in a conversation of the same turns.

    Raises:
        RecipeError: it does, or the template refuses these messages.
    """
    prompt = prompt_token_ids(tokenizer, messages)
    plain = prompt_token_ids(tokenizer, [Message(one.role, "a") for one in messages])
    bos = tokenizer.bos_token_id
    if bos is not None and prompt.count(bos) != plain.count(bos):
        raise RecipeError(
            f"its text holds {tokenizer.bos_token}: rendered, it has {prompt.count(bos)} BOS tokens"
            f" in place of {plain.count(bos)}: {shown(tokenizer, abridged(prompt))}",
            "give messages as they are, which no template has rendered yet",
        )
    end = end_of_turn_id(tokenizer)
    for text in responses:
        response = response_token_ids(tokenizer, messages, text)
        if response[-1] != end or end in response[:-1]:
            raise RecipeError(
                "its response, rendered, does not end with the one end of turn that is in it:"
                f" {shown(tokenizer, abridged(response))}",
                "give responses as they are, without tokens that end a turn",
            )


def begins_rendered(tokenizer: Any, texts: Sequence[str]) -> bool:
    """Whether one of these texts begins with BOS written out: seen without rendering any."""
    bos = tokenizer.bos_token
    return bool(bos) and any(text.lstrip().startswith(bos) for text in texts)


def _check_bos(tokenizer: Any, prompt: tuple[int, ...], found: int, without_bos: bool) -> None:
    """Raises RecipeError unless a prompt starts with the one BOS that the tokenizer emits, if any.

    A tokenizer that puts none before plain text leaves it to the template (Qwen, phi-2).
    """
    ids = f"{list(prompt)} = {shown(tokenizer, prompt)}"
    if found > 1:
        raise RecipeError(
            f"a rendered prompt starts with {found} BOS tokens: {ids}",
            "mend the chat_template of the checkpoint's tokenizer: bos_token must stand in it once",
        )
    if bos_is_missing(tokenizer) and not without_bos:
        raise RecipeError(
            f"a rendered prompt starts without BOS ({tokenizer.bos_token}), with which the"
            f" tokenizer begins other text: {ids}",
            "if the model was trained so (as zephyr was), add 'without_bos: true' to 'base'; else"
            " mend the chat_template of the checkpoint's tokenizer",
        )
    if found == 1 and without_bos:
        raise RecipeError(
            f"the recipe says base.without_bos, but a rendered prompt starts with BOS: {ids}",
            "remove 'without_bos'",
        )


def bos_is_missing(tokenizer: Any) -> bool:
    """Whether the template writes no BOS although the tokenizer puts one before plain text."""
    return _adds_bos(tokenizer) and not _leading_bos(
        tokenizer, prompt_token_ids(tokenizer, _EXAMPLE)
    )


def has_template(tokenizer: Any) -> bool:
    """Whether the tokenizer brings a chat template of its own."""
    return bool(getattr(tokenizer, "chat_template", None))


def plain_template(tokenizer: Any) -> str:
    """What a tokenizer without a chat template is given, with BOS where it puts one by itself."""
    return ("{{ bos_token }}" if _adds_bos(tokenizer) else "") + PLAIN_TEMPLATE


def example_lines(tokenizer: Any, heading: str, parts: Mapping[str, Sequence[int]]) -> list[str]:
    """Token sequences by what they are, each as ids and as text, cut in the middle if long."""
    lines = textwrap.wrap(heading, LINE_CHARACTERS, subsequent_indent="  ")
    for name, ids in parts.items():
        kept = abridged(ids)
        lines += _wrapped(f"  {name:<9}", " ".join(map(str, kept)))
        lines += _wrapped("  as text  ", shown(tokenizer, kept))
    return lines


def abridged(token_ids: Sequence[int]) -> list[int | str]:
    """Token ids without their middle where there are many: what templates add is at the ends."""
    if len(token_ids) <= _SHOWN_FIRST + _SHOWN_LAST + 1:
        return list(token_ids)
    left_out = len(token_ids) - _SHOWN_FIRST - _SHOWN_LAST
    first, last = token_ids[:_SHOWN_FIRST], token_ids[-_SHOWN_LAST:]
    return [*first, f"... {left_out} more ...", *last]


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, LINE_CHARACTERS, initial_indent=head, subsequent_indent=" " * len(head)
    )


def _accepted(tokenizer: Any, messages: Sequence[Message]) -> list[dict[str, str]]:
    """The messages in a form that the template shows in full."""
    turns = _plain(messages)
    system = turns[0]["content"].strip() if turns and turns[0]["role"] == "system" else ""
    if system and not _shows_system(tokenizer, turns):
        # Templates without a system role refuse or forget it: it then opens the first user turn.
        joined = {"role": "user", "content": f"{system}\n\n{turns[1]['content']}"}
        return [joined, *turns[2:]]
    return turns


def _shows_system(tokenizer: Any, turns: list[dict[str, str]]) -> bool:
    from jinja2 import TemplateError

    marked = [{"role": "system", "content": _MARKER}, *turns[1:]]
    try:
        return _MARKER in str(_render(tokenizer, marked, generate=True, tokenize=False))
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
        options["chat_template"] = plain_template(tokenizer)
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


def shown(tokenizer: Any, token_ids: Sequence[int | str]) -> str:
    """Token ids as text with a bracket around each, for people; words stand as they are."""
    return repr(
        "".join(
            f" {token_id} " if isinstance(token_id, str) else f"[{tokenizer.decode([token_id])}]"
            for token_id in token_ids
        )
    )
