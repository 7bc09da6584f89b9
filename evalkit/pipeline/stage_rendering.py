"""How a stage renders: with the one renderer, or as released code did where it asks for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evalkit import rendering
from evalkit.recipe import Recipe
from evalkit.records import Message, Prompt, PromptGroup, Response
from evalkit.roles import DataNeeds
from evalkit.stages import Stage
from evalkit.trainers import released


def check_template(recipe: Recipe, tokenizer: Any) -> list[str]:
    """An example's token ids as the stages train on it, in lines for people to look at.

    Raises:
        RecipeError: the template does not do what training relies on.
    """
    lines: list[str] = []
    if any(stage.compat is None for stage in recipe.stages):
        lines += rendering.preflight(tokenizer, recipe.base.without_bos).lines()
    asking = {stage.method.key for stage in recipe.stages if stage.compat is not None}
    for form in map(released.form_of, sorted(asking)):
        released.check(form, tokenizer)
        lines += released.shown_example(form, tokenizer)
    return lines


def sampling_token_ids(
    tokenizer: Any, stage: Stage, messages: Sequence[Message]
) -> tuple[int, ...]:
    """The prompt that a stage samples responses for.

    Raises:
        RecipeError: the template, or the code that the stage is compatible with, refuses it.
    """
    if stage.compat is None:
        return rendering.prompt_token_ids(tokenizer, messages)
    return released.sampling_token_ids(released.form_of(stage.method.key), tokenizer, messages)


def group(
    tokenizer: Any, stage: Stage, prompt: Prompt, sampled: Sequence[Response], needs: DataNeeds
) -> PromptGroup:
    """What is trained on: the prompt, the responses sampled for it, those the data gives.

    Sampled responses keep their token ids, except where released code rendered their text anew.
    """
    texts = [prompt.gold] if needs.gold else []
    texts += [prompt.rejected] if needs.rejected else []
    given = [text for text in texts if text is not None]
    if stage.compat is None:
        ids = rendering.prompt_token_ids(tokenizer, prompt.messages)
        responses = [
            Response(text, rendering.response_token_ids(tokenizer, prompt.messages, text), "gold")
            for text in given
        ]
        return PromptGroup(prompt, ids, (*sampled, *responses))
    unrendered = [*sampled, *(Response(text, (), "gold") for text in given)]
    form = released.form_of(stage.method.key)
    made = released.sequences(form, tokenizer, prompt.messages, [r.text for r in unrendered])
    return PromptGroup(
        prompt,
        made.prompt_token_ids,
        tuple(
            replace(response, token_ids=ids)
            for response, ids in zip(unrendered, made.responses, strict=True)
        ),
    )
