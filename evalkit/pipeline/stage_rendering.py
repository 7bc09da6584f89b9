"""How a stage renders: with the one renderer, or as released code did where it asks for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from evalkit import rendering
from evalkit.errors import EvalkitError, Problem
from evalkit.pipeline import plugins
from evalkit.recipe import Recipe
from evalkit.records import Message, Prompt, PromptGroup, Response
from evalkit.roles import DataNeeds
from evalkit.stages import Stage
from evalkit.trainers import released


def check_template(recipe: Recipe, tokenizer: Any) -> None:
    """Raises RecipeError where the template does not do what the stages rely on."""
    if any(stage.compat is None for stage in recipe.stages):
        rendering.preflight(tokenizer, recipe.base.without_bos)
    asking = {stage.method.key for stage in recipe.stages if stage.compat is not None}
    for form in map(released.form_of, sorted(asking)):
        released.check(form, tokenizer)


def check_rows(tokenizer: Any, stage: Stage, prompts: Sequence[Prompt]) -> Iterator[Problem]:
    """Which rows of a stage's data cannot be rendered as training relies on.

    Rendered are the first row of each order of roles, and the first that looks as if it had been
    rendered before.
    """
    needs = _needs(stage)
    chosen: dict[object, Prompt] = {}
    for prompt in prompts:
        chosen.setdefault(tuple(message.role for message in prompt.messages), prompt)
        texts = [message.content for message in prompt.messages]
        if rendering.begins_rendered(tokenizer, [*texts, *_given(prompt, needs).values()]):
            chosen.setdefault("rendered before", prompt)
    for prompt in {prompt.id: prompt for prompt in chosen.values()}.values():
        try:
            _check_row(tokenizer, stage, prompt, needs)
        except EvalkitError as error:
            yield Problem("", f"prompt {prompt.id}: {error.message}", error.hint)


def _check_row(tokenizer: Any, stage: Stage, prompt: Prompt, needs: DataNeeds) -> None:
    if stage.compat is None:
        rendering.check_text(tokenizer, prompt.messages, list(_given(prompt, needs).values()))
    else:
        sampling_token_ids(tokenizer, stage, prompt.messages)


def example_lines(
    tokenizer: Any, recipe: Recipe, index: int, prompt: Prompt | None = None
) -> list[str]:
    """Token ids as the stage of that index trains on them, in lines for people to look at.

    prompt: the first row of its data, if it is there; else an example that fits no data.
    """
    stage, what = recipe.stages[index].of_iteration(0), "an example"
    if prompt is not None:
        what = f"the first row of stages.{index}.prompts ({prompt.id})"
    prompt = prompt or rendering.EXAMPLE
    if stage.compat is None:
        rendered = rendering.preflight(tokenizer, recipe.base.without_bos)
        heading = rendered.heading(what)
    else:
        heading = f"compat {stage.compat} ({stage.method.name}) renders {what} so:"
    needs = _needs(stage)
    made = group(tokenizer, stage, prompt, (), needs)
    parts = {"prompt": made.prompt_token_ids}
    for name, response in zip(_given(prompt, needs), made.responses, strict=True):
        parts[name] = response.token_ids
    return rendering.example_lines(tokenizer, heading, parts)


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
    given = list(_given(prompt, needs).values())
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


def _needs(stage: Stage) -> DataNeeds:
    needs: DataNeeds = plugins.make("methods", stage.method).needs()
    return needs


def _given(prompt: Prompt, needs: DataNeeds) -> dict[str, str]:
    """The responses of the data that a method asks for, by name, in the order of groups."""
    asked = {"gold": needs.gold, "rejected": needs.rejected}
    texts = {name: getattr(prompt, name) for name, wanted in asked.items() if wanted}
    return {name: text for name, text in texts.items() if text is not None}
