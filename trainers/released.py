"""What `compat: released` does otherwise: the released pipelines of SPPO and SPIN, faults and all.

For reproducing published checkpoints. Nothing here is used unless a stage asks for it.

| where | what the released code does, and so does this file | source |
|---|---|---|
| SPPO, prompt | a misspelt keyword: no assistant header in it | alignment/data.py:57 |
| SPPO, response | hence the header is scored as part of it | alignment/data.py:60-65 |
| SPPO, boundary | a merge of tokens across it moves it one token left | trainer.py:530-562 |
| SPPO, BOS | put before the rendered prompt, which has one already | trainer.py:637-640 |
| SPPO, EOS | put behind the closed turn: two ends, both scored | trainer.py:646-651 |
| SPPO, sampling | vLLM puts BOS before the rendered prompt, too | generate.py:40-44, 98 |
| SPIN, prompt | an empty system message where there is none | run_spin.py:38-51 |
| SPIN, response | rendered alone, its `<|assistant|>` and line break cut off | run_spin.py:45-53 |
| SPIN, tokens | prompt and response apart, without BOS | alignment/utils.py:69-71 |
| SPIN, EOS | put behind the closed turn: two ends, both scored | alignment/utils.py:96-99 |
| both, unfinished | a response that was cut while sampling is closed all the same | as above |
| both, too long | the last of the prompt is kept, then responses are cut | trainer.py:653-671, |
| | at max_length - max_prompt_length, all of them alike | alignment/utils.py:102-118 |
| both, win rates | out of summed scores: `evalkit.preferences` | compute_prob.py:41-45 |

Source: uclaml/SPPO sppo/ and scripts/ at 5e61c4e, uclaml/SPIN spin/ at a12ba80.

Not reproduced: SPIN hides every EOS from attention in training alone (alignment/utils.py:73-93),
and samples with "### Instruction" in place of the template (generate.py:80); SPPO cuts prompts at
the word "None" while sampling (generate.py:44), and shows PairRM templated prompts (rank.py:65).
A merge of tokens moves SPPO's boundary for the one response; here for all of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, cast, get_args

from evalkit import rendering
from evalkit.errors import RecipeError, gist
from evalkit.records import Message, TrainingExample

SPIN_PREFIX = "<|assistant|>\n"
Form = Literal["sppo", "spin"]
_EXAMPLE = (Message("user", "Say hello."),)
_EXAMPLE_RESPONSE = "Hello there."


class Sequences(NamedTuple):
    """A prompt and the responses to it as the released code trains on them."""

    prompt_token_ids: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]


class Cut(NamedTuple):
    """Examples within the length limit; how many prompts and responses lost tokens for it."""

    examples: list[TrainingExample]
    prompts: int
    responses: int


def form_of(method: str) -> Form:
    """The released code of a method; a recipe asks for none of another (`recipe.Stage`)."""
    assert method in get_args(Form), method
    return cast(Form, method)


def check(form: Form, tokenizer: Any) -> None:
    """Raises RecipeError where the released code would stop, or render something else."""
    if not rendering.has_template(tokenizer):
        raise RecipeError(
            "'compat: released' renders with the tokenizer's own chat template, and it has none",
            "remove 'compat' from the stage, or add a chat_template to the tokenizer",
        )
    for name in ("bos_token", "eos_token") if form == "sppo" else ("eos_token",):
        if getattr(tokenizer, f"{name}_id") is None:
            raise RecipeError(
                f"the released code of {form} puts {name} into every sequence, and this tokenizer"
                " has none",
                "remove 'compat' from the stage",
            )
    sequences(form, tokenizer, _EXAMPLE, [_EXAMPLE_RESPONSE])


def sequences(
    form: Form, tokenizer: Any, messages: Sequence[Message], responses: Sequence[str]
) -> Sequences:
    """The token ids that the released code makes of a prompt and responses to it.

    Raises:
        RecipeError: the template refuses the messages, or SPIN is given more than one turn.
    """
    if form == "spin":
        return _spin(tokenizer, messages, responses)
    return _sppo(tokenizer, messages, responses)


def sampling_token_ids(form: Form, tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    """The prompt that responses are sampled for. SPPO's has the assistant header, training's not.

    Raises:
        RecipeError: the template refuses the messages, or SPIN is given more than one turn.
    """
    if form == "spin":
        return _spin(tokenizer, messages, ()).prompt_token_ids
    text = _text(tokenizer, messages, add_generation_prompt=True)
    return (tokenizer.bos_token_id, *_ids(tokenizer, text))


def cut(examples: Sequence[TrainingExample], max_length: int, max_prompt_length: int) -> Cut:
    """Examples cut as both released trainers do it, the longest response deciding for all.

    Where prompt and longest response are over `max_length`, the last `max_prompt_length` tokens
    of the prompt are kept; where they still are, every response keeps its first
    `max_length - max_prompt_length` tokens.
    """
    found: list[TrainingExample] = []
    prompts = responses = 0
    for example in examples:
        prompt, longest = example.prompt_token_ids, max(map(len, example.continuations))
        if len(prompt) + longest > max_length:
            prompts += len(prompt) > max_prompt_length
            prompt = prompt[-max_prompt_length:]
        example = replace(example, prompt_token_ids=prompt)
        if len(prompt) + longest > max_length:
            room = max_length - max_prompt_length
            cut_off = tuple(len(ids) > room for ids in example.continuations)
            responses += sum(cut_off)
            kept = tuple(ids[:room] for ids in example.continuations)
            example = replace(example, continuations=kept, truncated=cut_off)
        found.append(example)
    return Cut(found, prompts, responses)


def _sppo(tokenizer: Any, messages: Sequence[Message], responses: Sequence[str]) -> Sequences:
    prompt_text = _text(tokenizer, messages)
    prompt = _ids(tokenizer, prompt_text)
    whole = []
    for response in responses:
        full = _text(tokenizer, (*messages, Message("assistant", response)))
        # The first part is not taken from `full`, though a template may have rendered it otherwise.
        whole.append(_ids(tokenizer, prompt_text + full[len(prompt_text) :]))
    boundary = len(prompt)
    if any(ids[:boundary] != prompt for ids in whole):
        boundary -= 1
    return Sequences(
        (tokenizer.bos_token_id, *prompt[:boundary]),
        tuple((*ids[boundary:], tokenizer.eos_token_id) for ids in whole),
    )


def _spin(tokenizer: Any, messages: Sequence[Message], responses: Sequence[str]) -> Sequences:
    asked = [message for message in messages if message.role != "system"]
    if len(asked) != 1:
        raise RecipeError(
            f"the released code of spin takes the first turn alone, and here are {len(asked)}",
            "give it prompts of one turn, or remove 'compat' from the stage",
        )
    system = [message for message in messages if message.role == "system"]
    before = system or [Message("system", "")]
    prompt = _text(tokenizer, [*before, *asked], add_generation_prompt=True)
    answers = [_text(tokenizer, [Message("assistant", response)]) for response in responses]
    return Sequences(
        _ids(tokenizer, prompt),
        tuple(
            (*_ids(tokenizer, answer.removeprefix(SPIN_PREFIX)), tokenizer.eos_token_id)
            for answer in answers
        ),
    )


def _text(tokenizer: Any, messages: Sequence[Message], **options: Any) -> str:
    from jinja2 import TemplateError

    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise RecipeError(
            f"the chat template refuses what 'compat: released' renders ({roles}): {gist(error)}",
            "remove 'compat' from the stage",
        ) from error


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
