"""Step `ITERATION-responses`: renders an iteration's prompts and samples the policy's responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from evalkit import rendering
from evalkit.errors import RecipeError
from evalkit.fingerprint import derive_seed
from evalkit.journal import Journal
from evalkit.pipeline import plugins
from evalkit.pipeline.checkpoints import checkpoint_of, opened
from evalkit.pipeline.groups import write_groups
from evalkit.pipeline.journaled import JournaledEngine
from evalkit.pipeline.layout import IterationSlot, step_of
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe, Stage, as_data
from evalkit.records import Prompt, PromptGroup, Response
from evalkit.roles import DataNeeds, GenerationRequest, Sampling


def step_name(slot_name: str) -> str:
    """Name of the step that gathers an iteration's responses."""
    return f"{slot_name}-responses"


def step(recipe: Recipe, slot: IterationSlot) -> Step:
    """The step that gathers an iteration's prompts and responses."""
    stage = recipe.stages[slot.stage_index]
    needs = plugins.make("methods", stage.method).needs()
    count = stage.prompts_per_iteration
    return Step(
        name=step_name(slot.name),
        kind="generate",
        title=_title(needs, count),
        settings={
            "prompts": plugins.settings("sources", stage.prompts),
            "data_digest": plugins.data_digest(stage.prompts),
            "prompts_per_iteration": count,
            "position": 0 if stage.reuse_prompts else slot.position,
            "iteration": slot.number,
            "seed": recipe.seed,
            "needs": needs._asdict(),
            "sampling": as_data(stage.sampling) if needs.samples else None,
            "engine": plugins.settings("engines", recipe.engine) if needs.samples else None,
        },
        needs=(step_of(recipe, slot.parent),),
        work=lambda context: _gather(context, stage, slot, needs),
        cost=f"{count or 'all'} prompts x {needs.samples} responses",
    )


def _title(needs: DataNeeds, count: int | None) -> str:
    prompts = f"{count} prompts" if count else "all prompts"
    return f"sample {needs.samples} responses to {prompts}" if needs.samples else f"read {prompts}"


def iteration_prompts(stage: Stage, position: int, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts of one iteration of a stage.

    Raises:
        RecipeError: the source has too few.
    """
    count = stage.prompts_per_iteration
    if count is None:
        return list(prompts)
    start = 0 if stage.reuse_prompts else position * count
    if start + count > len(prompts):
        raise RecipeError(
            f"{stage.iterations} iterations of {count} prompts need"
            f" {count * (1 if stage.reuse_prompts else stage.iterations)},"
            f" but {stage.prompts.name} has {len(prompts)}",
            "lower prompts_per_iteration, or set reuse_prompts: true",
        )
    return list(prompts[start : start + count])


def _gather(
    context: StepContext, stage: Stage, slot: IterationSlot, needs: DataNeeds
) -> Mapping[str, Any]:
    source = plugins.make("sources", stage.prompts)
    prompts = iteration_prompts(stage, slot.position, source.prompts())
    loaded = opened(checkpoint_of(context, slot.parent))
    rendering.preflight(loaded.tokenizer)
    rendered = [rendering.prompt_token_ids(loaded.tokenizer, prompt.messages) for prompt in prompts]
    sampled: Sequence[tuple[Response, ...]] = [()] * len(prompts)
    if needs.samples:
        sampled = _sample(context, stage, slot, needs.samples, prompts, rendered)
    groups = [
        PromptGroup(prompt, ids, (*responses, *_given(loaded.tokenizer, prompt, needs)))
        for prompt, ids, responses in zip(prompts, rendered, sampled, strict=True)
    ]
    return {
        "digest": write_groups(context.folder, groups),
        "prompts": len(groups),
        "source": dict(source.description()),
        **_sampling_facts(sampled),
    }


def _sample(
    context: StepContext,
    stage: Stage,
    slot: IterationSlot,
    count: int,
    prompts: Sequence[Prompt],
    rendered: Sequence[tuple[int, ...]],
) -> list[tuple[Response, ...]]:
    loaded = opened(checkpoint_of(context, slot.parent))
    engine = JournaledEngine(
        plugins.make("engines", context.recipe.engine).attach(loaded),
        Journal(context.scratch / "journal.jsonl"),
    )
    requests = [
        GenerationRequest(ids, count, derive_seed(context.recipe.seed, slot.name, prompt.id))
        for prompt, ids in zip(prompts, rendered, strict=True)
    ]
    return engine.generate(requests, Sampling(**as_data(stage.sampling)), context.progress)


def _given(tokenizer: Any, prompt: Prompt, needs: DataNeeds) -> list[Response]:
    texts = [prompt.gold] if needs.gold else []
    texts += [prompt.rejected] if needs.rejected else []
    return [
        Response(text, rendering.response_token_ids(tokenizer, prompt.messages, text), "gold")
        for text in texts
        if text is not None
    ]


def _sampling_facts(sampled: Sequence[tuple[Response, ...]]) -> dict[str, Any]:
    responses = [response for group in sampled for response in group]
    if not responses:
        return {}
    return {
        "responses": len(responses),
        "mean_response_tokens": round(fmean(len(r.token_ids) for r in responses), 3),
        "unfinished": sum(r.finish_reason == "length" for r in responses),
    }
