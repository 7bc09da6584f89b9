"""Steps `ITERATION-held-out` and `ITERATION-head-to-head`: an iteration against its parent, judged.

Both checkpoints answer the same prompts once; judges say in both orders whose answer is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, NamedTuple

from evalkit.console import say
from evalkit.errors import EvalkitError, JudgeError, Problem
from evalkit.fingerprint import derive_seed
from evalkit.journal import Journal
from evalkit.loading import file_digest
from evalkit.metrics.score import measured
from evalkit.pipeline import evaluation, plugins
from evalkit.pipeline.checkpoints import checkpoint_of, open_judge, tokenizer
from evalkit.pipeline.groups import GROUPS, read_groups, write_groups
from evalkit.pipeline.layout import IterationSlot, iterations, slot_of, stage_of, step_of
from evalkit.pipeline.responses import iteration_prompts, sample
from evalkit.pipeline.stage_rendering import sampling_token_ids
from evalkit.pipeline.step import Step, StepContext
from evalkit.preferences import PreferenceOptions, judge_groups
from evalkit.recipe import Recipe, as_data
from evalkit.records import Message, Prompt, PromptGroup, Response, ResultSet, Sample
from evalkit.roles import GenerationRequest, PluginRef
from evalkit.rundir import SPENDING
from evalkit.stages import Stage
from evalkit.stats import mean_interval

BENCHMARK = "head_to_head"
METRIC = "win_rate_over_parent"
EVEN = 50.0  # percent: what a checkpoint wins against itself


class Round(NamedTuple):
    """One judge's comparison. suffix: of its step and its task: none for the judge of training."""

    judge: PluginRef
    suffix: str


def rounds(recipe: Recipe, slot: IterationSlot) -> list[Round]:
    """Who compares an iteration with its parent: the judge of its training, and another."""
    stage = stage_of(recipe, slot)
    if not stage.head_to_head.prompts:
        return []
    judges = {"": stage.judge, "-other": stage.head_to_head.other_judge}
    return [Round(judge, suffix) for suffix, judge in judges.items() if judge is not None]


def step_names(recipe: Recipe, slot: IterationSlot) -> list[str]:
    """The steps that compare an iteration with its parent."""
    return [f"{slot.name}-head-to-head{one.suffix}" for one in rounds(recipe, slot)]


def every_step_name(recipe: Recipe) -> list[str]:
    """The steps that compare each iteration with its parent."""
    return [name for slot in iterations(recipe) for name in step_names(recipe, slot)]


def check(stage: Stage) -> Iterator[Problem]:
    """What is wrong with prompts and judges that a stage brings for this alone."""
    own = stage.head_to_head
    key = "head_to_head"
    if own.source is None:
        return
    try:
        prompts = plugins.make("sources", own.source).prompts()
    except EvalkitError as error:
        yield Problem.of(f"{key}.source", error)
        return
    for ref in (stage.judge, own.other_judge):
        if ref is not None:
            for problem in plugins.make("judges", ref).check_prompts(prompts):
                yield problem._replace(where=f"{key}.source")


def steps(recipe: Recipe, slot: IterationSlot) -> Iterator[Step]:
    """The steps that compare an iteration with the checkpoint that it started from."""
    found = rounds(recipe, slot)
    if not found:
        return
    yield _answering(recipe, slot)
    for one, name in zip(found, step_names(recipe, slot), strict=True):
        yield _judging(recipe, slot, one, name)


# --- answers ----------------------------------------------------------------------------------


def _answering(recipe: Recipe, slot: IterationSlot) -> Step:
    stage = stage_of(recipe, slot)
    source = _source(recipe, slot)
    before = _answered_before(recipe, slot)
    count = stage.head_to_head.prompts
    return Step(
        name=_held_out(slot.name),
        kind="generate",
        title=f"{slot.name} and {slot.parent} answer held-out prompts",
        settings={
            "prompts": plugins.settings("sources", source),
            "data_digest": plugins.data_digest(source),
            **_protocol(recipe, slot),
            "seed": recipe.seed,
        },
        needs=(step_of(recipe, slot.name), before or step_of(recipe, slot.parent)),
        work=lambda context: _answer(context, slot),
        cost=f"{count} prompts x {1 if before else 2} responses",
    )


def _held_out(slot_name: str) -> str:
    return f"{slot_name}-held-out"


def _source(recipe: Recipe, slot: IterationSlot) -> PluginRef:
    """The prompts' source, the same for all iterations of a stage."""
    stage = recipe.stages[slot.stage_index]
    return stage.head_to_head.source or stage.of_iteration(0).prompts


def _protocol(recipe: Recipe, slot: IterationSlot) -> dict[str, Any]:
    """How answers are drawn."""
    stage = stage_of(recipe, slot)
    return {
        "count": stage.head_to_head.prompts,
        "sampling": as_data(stage.sampling),
        "engine": plugins.settings("engines", recipe.engine),
        **({"compat": stage.compat} if stage.compat else {}),
    }


def _answered_before(recipe: Recipe, slot: IterationSlot) -> str | None:
    """The step in which the parent has answered these prompts already, in the same way."""
    if not slot.earlier or slot.earlier[-1] != slot.parent:
        return None
    before = slot_of(recipe, slot.parent)
    if not rounds(recipe, before) or _protocol(recipe, before) != _protocol(recipe, slot):
        return None
    return _held_out(before.name)


def _answer(context: StepContext, slot: IterationSlot) -> Mapping[str, Any]:
    recipe, stage = context.recipe, stage_of(context.recipe, slot)
    prompts = prompts_of(recipe, slot)
    own = tokenizer(checkpoint_of(context, slot.name))
    requests = [
        GenerationRequest(
            sampling_token_ids(own, stage, prompt.messages),
            seed=derive_seed(recipe.seed, BENCHMARK, prompt.id),
        )
        for prompt in prompts
    ]
    old = _parent_s_answers(context, stage, slot, requests)
    journal = Journal(context.scratch / "journal.jsonl")
    new = [one for (one,) in sample(context, stage, slot.name, requests, journal)]
    groups = [
        PromptGroup(prompt, request.prompt_token_ids, pair)
        for prompt, request, pair in zip(prompts, requests, zip(new, old, strict=True), strict=True)
    ]
    seen = _seen(recipe, slot)
    return {
        "digest": write_groups(context.folder, groups),
        "prompts": len(groups),
        "seen": sum(prompt.messages in seen for prompt in prompts),
    }


def prompts_of(recipe: Recipe, slot: IterationSlot) -> list[Prompt]:
    """The last ones of the source, which iterations that take a part each come to last."""
    count = stage_of(recipe, slot).head_to_head.prompts
    prompts: list[Prompt] = plugins.make("sources", _source(recipe, slot)).prompts()
    return prompts[-count:]


def _parent_s_answers(
    context: StepContext, stage: Stage, slot: IterationSlot, requests: list[GenerationRequest]
) -> list[Response]:
    before = _answered_before(context.recipe, slot)
    if before is not None:
        return [group.responses[0] for group in read_groups(context.run.folder(before))]
    # A journal of its own: it knows requests, and not whose answers they have.
    journal = Journal(context.scratch / "parent.jsonl")
    return [one for (one,) in sample(context, stage, slot.parent, requests, journal)]


def _seen(recipe: Recipe, slot: IterationSlot) -> set[tuple[Message, ...]]:
    """What the stage has been trained on by the end of an iteration."""
    whole = recipe.stages[slot.stage_index]
    found: set[tuple[Message, ...]] = set()
    for position in range(slot.position + 1):
        source = plugins.make("sources", whole.of_iteration(position).prompts)
        taken = iteration_prompts(whole, position, source.prompts())
        found |= {prompt.messages for prompt in taken}
    return found


# --- judgement --------------------------------------------------------------------------------


def _judging(recipe: Recipe, slot: IterationSlot, one: Round, name: str) -> Step:
    stage = stage_of(recipe, slot)
    return Step(
        name=name,
        kind="judge",
        title=f"judge {slot.name} against {slot.parent} ({one.judge.name})",
        settings={
            "judge": plugins.settings("judges", one.judge),
            "temperature": stage.preferences.temperature,
        },
        needs=(_held_out(slot.name),),
        work=lambda context: _judge(context, stage, slot, one),
        judge=one.judge,
    )


def _judge(
    context: StepContext, stage: Stage, slot: IterationSlot, one: Round
) -> Mapping[str, Any]:
    judge = open_judge(
        plugins.make("judges", one.judge),
        Journal(context.scratch / "journal.jsonl"),
        context.run.path / SPENDING,
    )
    groups = read_groups(context.run.folder(_held_out(slot.name)))
    options = PreferenceOptions(temperature=stage.preferences.temperature)
    with closing(judge):
        judged = judge_groups(groups, judge, options, context.progress)
    answered = context.result(_held_out(slot.name))
    result = _result(context, slot, one, judged.groups, dict(judge.identity()))
    evaluation.write_result(context.folder, result)
    [score] = result.scores
    facts = {
        METRIC: score.value,
        "ci_low": score.ci_low,
        "ci_high": score.ci_high,
        "n": score.n,
        "missing": score.missing,
        "seen": answered["seen"],
        "ties": judged.stats.ties + judged.stats.duplicate_responses,
        "order_bias": judged.stats.order_bias,
    }
    say(_told(slot, one, facts))
    digest = file_digest(context.folder / evaluation.RESULT)
    return {"digest": digest, "judge": dict(judge.identity()), **facts}


def _result(
    context: StepContext,
    slot: IterationSlot,
    one: Round,
    groups: Sequence[PromptGroup],
    identity: Mapping[str, Any],
) -> ResultSet:
    """The mean probability of winning, in percent; equal answers count as half a win."""
    task = BENCHMARK + one.suffix.replace("-", "_")
    values = {group.prompt.id: _win_percent(group) for group in groups}
    judged = {name: value for name, value in values.items() if value is not None}
    if not judged:
        raise JudgeError(
            f"judge {one.judge.name} gave no usable verdict on any of {len(groups)} pairs",
            "check that its rule, model or address fits these prompts",
        )
    interval = mean_interval(list(judged.values())).clipped(0, 100)
    missing = len(groups) - len(judged)
    checkpoint = checkpoint_of(context, slot.name)
    return ResultSet(
        benchmark=BENCHMARK,
        checkpoint=slot.name,
        checkpoint_digest=checkpoint.digest,
        scores=(measured(task, METRIC, interval, "percent", missing=missing),),
        provenance={
            "judge": dict(identity),
            "against": slot.parent,
            "data": file_digest(context.run.folder(_held_out(slot.name)) / GROUPS),
            "seed": context.recipe.seed,
        },
        samples=tuple(
            Sample(group.prompt.id, task, _as_metrics(values[group.prompt.id]), _detail(group))
            for group in groups
        ),
    )


def _win_percent(group: PromptGroup) -> float | None:
    """How likely the newer checkpoint's answer beats the older one's, order bias removed."""
    assert group.pair_probs is not None
    probability = group.pair_probs[0][1]
    return None if probability is None else 100 * probability


def _as_metrics(value: float | None) -> dict[str, float]:
    return {} if value is None else {METRIC: value}


def _detail(group: PromptGroup) -> dict[str, Any]:
    newer, older = (response.text for response in group.responses)
    return {"answer": newer, "answer_of_parent": older, "logits": group.pair_logits}


def _told(slot: IterationSlot, one: Round, facts: Mapping[str, Any]) -> str:
    seen = facts["seen"]
    known = f", {seen} of which the stage was trained on" if seen else ""
    interval = (
        "" if facts["ci_low"] is None else f" [{facts['ci_low']:.1f}, {facts['ci_high']:.1f}]"
    )
    return (
        f"{slot.name} wins {facts[METRIC]:.1f} %{interval} against {slot.parent} on {facts['n']}"
        f" prompts{known} (judge: {one.judge.name})"
    )


# --- for a gate -------------------------------------------------------------------------------


def results(context: StepContext, slot: IterationSlot) -> list[tuple[ResultSet, ResultSet]]:
    """What each judge found: of the parent, which is even with itself, and of the iteration."""
    found = []
    for name in step_names(context.recipe, slot):
        result = evaluation.read_result(context.run.folder(name), with_samples=True)
        even = tuple(
            replace(one, metrics=dict.fromkeys(one.metrics, EVEN)) for one in result.samples
        )
        scores = tuple(replace(score, value=EVEN) for score in result.scores)
        found.append((replace(result, checkpoint=slot.parent, scores=scores, samples=even), result))
    return found
