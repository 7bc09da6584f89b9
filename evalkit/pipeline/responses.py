"""Step `ITERATION-responses`: renders an iteration's prompts and samples the policy's responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from evalkit.console import say
from evalkit.errors import RecipeError
from evalkit.fingerprint import derive_seed
from evalkit.journal import Journal
from evalkit.pipeline import plugins
from evalkit.pipeline.checkpoints import checkpoint_of, open_engine, tokenizer
from evalkit.pipeline.groups import write_groups
from evalkit.pipeline.layout import IterationSlot, stage_of, step_of
from evalkit.pipeline.stage_rendering import (
    check_template,
    example_lines,
    group,
    sampling_token_ids,
)
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe, as_data
from evalkit.records import Prompt, Response
from evalkit.roles import DataNeeds, GenerationRequest, Sampling
from evalkit.stages import Stage


def step_name(slot_name: str) -> str:
    """Name of the step that gathers an iteration's responses."""
    return f"{slot_name}-responses"


def step(recipe: Recipe, slot: IterationSlot) -> Step:
    """The step that gathers an iteration's prompts and responses."""
    stage = stage_of(recipe, slot)
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
            "first_prompt": first_prompt(recipe.stages[slot.stage_index], slot.position),
            "iteration": slot.number,
            "seed": recipe.seed,
            "needs": {"gold": needs.gold, "rejected": needs.rejected, "samples": needs.samples},
            "sampling": as_data(stage.sampling) if needs.samples else None,
            "engine": plugins.settings("engines", recipe.engine) if needs.samples else None,
            **({"compat": stage.compat} if stage.compat else {}),
        },
        needs=(step_of(recipe, slot.parent),),
        work=lambda context: _gather(context, stage, slot, needs),
        cost=f"{count or 'all'} prompts x {needs.samples} responses",
    )


def _title(needs: DataNeeds, count: int | None) -> str:
    prompts = f"{count} prompts" if count else "all prompts"
    return f"sample {needs.samples} responses to {prompts}" if needs.samples else f"read {prompts}"


def first_prompt(stage: Stage, position: int) -> int:
    """Where an iteration's prompts begin: behind those that earlier ones took of the same source.

    stage: the recipe's, of which this is the iteration at `position`, counted from 0.
    """
    own = stage.of_iteration(position)
    if stage.reuse_prompts or own.prompts_per_iteration is None:
        return 0
    before = map(stage.of_iteration, range(position))
    return sum(one.prompts_per_iteration or 0 for one in before if one.prompts == own.prompts)


def iteration_prompts(stage: Stage, position: int, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts of one iteration of a recipe's stage, out of all of its source.

    Raises:
        RecipeError: the source has too few.
    """
    own = stage.of_iteration(position)
    count, start = own.prompts_per_iteration, first_prompt(stage, position)
    if count is None:
        return list(prompts)
    if start + count > len(prompts):
        raise RecipeError(
            f"iteration {position + 1} of {stage.iterations} takes prompts {start + 1} to"
            f" {start + count}, but {own.prompts.name} has {len(prompts)}",
            "lower prompts_per_iteration, or set reuse_prompts: true",
        )
    return list(prompts[start : start + count])


def _gather(
    context: StepContext, stage: Stage, slot: IterationSlot, needs: DataNeeds
) -> Mapping[str, Any]:
    source = plugins.make("sources", stage.prompts)
    whole = context.recipe.stages[slot.stage_index]
    prompts = iteration_prompts(whole, slot.position, source.prompts())
    own = tokenizer(checkpoint_of(context, slot.parent))
    check_template(context.recipe, own)
    if slot.position == 0 and prompts:
        say("\n".join(example_lines(own, context.recipe, slot.stage_index, prompts[0])))
    sampled: Sequence[tuple[Response, ...]] = [()] * len(prompts)
    seeds = [derive_seed(context.recipe.seed, slot.name, prompt.id) for prompt in prompts]
    if needs.samples:
        rendered = [sampling_token_ids(own, stage, prompt.messages) for prompt in prompts]
        requests = [
            GenerationRequest(ids, needs.samples, seed)
            for ids, seed in zip(rendered, seeds, strict=True)
        ]
        journal = Journal(context.scratch / "journal.jsonl")
        sampled = sample(context, stage, slot.parent, requests, journal)
    groups = [
        replace(group(own, stage, prompt, responses, needs), seed=seed if needs.samples else None)
        for prompt, responses, seed in zip(prompts, sampled, seeds, strict=True)
    ]
    return {
        "digest": write_groups(context.folder, groups),
        "prompts": len(groups),
        "source": dict(source.description()),
        **_sampling_facts(sampled),
    }


def sample(
    context: StepContext,
    stage: Stage,
    checkpoint: str,
    requests: Sequence[GenerationRequest],
    journal: Journal,
) -> list[tuple[Response, ...]]:
    """What a checkpoint answers, drawn as a stage says. journal: of this checkpoint alone."""
    engine = open_engine(context.recipe.engine, checkpoint_of(context, checkpoint), journal)
    return engine.generate(requests, Sampling(**as_data(stage.sampling)), context.progress)


def _sampling_facts(sampled: Sequence[tuple[Response, ...]]) -> dict[str, Any]:
    responses = [response for group in sampled for response in group]
    if not responses:
        return {}
    return {
        "responses": len(responses),
        "mean_response_tokens": round(fmean(len(r.token_ids) for r in responses), 3),
        "unfinished": sum(r.finish_reason == "length" for r in responses),
        "duplicate_responses": sum(len(g) - len({r.text for r in g}) for g in sampled),
    }
