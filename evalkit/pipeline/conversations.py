"""Conversations that a variant is calibrated on, and those that are held out from it to measure it.

They are the recipe's own calibration data, or else what the last checkpoint was trained on, without
those that hold an evaluation item.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from evalkit import rendering
from evalkit.contamination.overlap import TrainingText, texts_with_items
from evalkit.pipeline import plugins
from evalkit.pipeline.checkpoints import checkpoint_of, tokenizer
from evalkit.pipeline.evaluation import open_source
from evalkit.pipeline.groups import read_groups
from evalkit.pipeline.layout import iterations
from evalkit.pipeline.responses import step_name as responses_step
from evalkit.pipeline.step import StepContext
from evalkit.recipe import Recipe
from evalkit.records import Prompt, PromptGroup

HELD_OUT = 5  # every fifth
# Source: Brown et al., Language Models are Few-Shot Learners, arXiv 2005.14165, appendix C.
NGRAM = 13


class Conversation(NamedTuple):
    """One prompt, rendered, and a response to it; the response may be empty."""

    prompt_token_ids: tuple[int, ...]
    response_token_ids: tuple[int, ...]


def needs(recipe: Recipe, parent: str) -> tuple[str, ...]:
    """The steps that conversations are read from."""
    if recipe.calibration is None and iterations(recipe):
        return (responses_step(parent),)
    return ()


def settings(recipe: Recipe) -> dict[str, Any]:
    """What decides which they are, beside the steps that are needed."""
    if recipe.calibration is None:
        return {}
    return {
        "calibration": plugins.settings("sources", recipe.calibration),
        "calibration_digest": plugins.data_digest(recipe.calibration),
    }


def conversations(context: StepContext, parent: str) -> list[Conversation]:
    """All of them in order; none where nothing is trained and the recipe names no data."""
    recipe = context.recipe
    if recipe.calibration is not None:
        own = tokenizer(checkpoint_of(context, parent))
        source = plugins.make("sources", recipe.calibration)
        return [_rendered(own, prompt) for prompt in source.prompts()]
    if not iterations(recipe):
        return []
    groups = read_groups(context.run.folder(responses_step(parent)))
    return [_of_group(group) for group in groups]


def without_items(
    context: StepContext, parent: str, found: Sequence[Conversation]
) -> list[Conversation]:
    """Those that share no `NGRAM` words in a row with an item of the recipe's benchmarks."""
    items = [
        item
        for ref in context.recipe.evaluation.benchmarks
        for item in plugins.make("benchmarks", ref).items(open_source) or ()
    ]
    if not items or not found:
        return list(found)
    decode = tokenizer(checkpoint_of(context, parent)).decode
    texts = (
        TrainingText(str(index), decode(one.prompt_token_ids), (decode(one.response_token_ids),))
        for index, one in enumerate(found)
    )
    met = texts_with_items(items, texts, NGRAM)
    return [one for index, one in enumerate(found) if str(index) not in met]


def for_calibration(found: Sequence[Conversation]) -> Iterator[list[int]]:
    """Token ids of those that schemes may see."""
    for index, one in enumerate(found):
        if (index + 1) % HELD_OUT:
            yield [*one.prompt_token_ids, *one.response_token_ids]


def held_out(found: Sequence[Conversation], most: int) -> list[Conversation]:
    """Those that no scheme sees and that have a response, up to so many."""
    every = found[HELD_OUT - 1 :: HELD_OUT]
    return [one for one in every if one.response_token_ids][:most]


def _rendered(tokenizer: Any, prompt: Prompt) -> Conversation:
    response: Sequence[int] = ()
    if prompt.gold is not None:
        response = rendering.response_token_ids(tokenizer, prompt.messages, prompt.gold)
    asked = rendering.prompt_token_ids(tokenizer, prompt.messages)
    return Conversation(tuple(asked), tuple(response))


def _of_group(group: PromptGroup) -> Conversation:
    return Conversation(group.prompt_token_ids, group.responses[0].token_ids)
