"""What the judging that a plan still has to do will cost, about, and what was spent so far.

Only judges that answer for tokens are told of; what comes with a kill's lost answers is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.chat_client import Spent, Usage, read_accounts
from evalkit.chat_client.usage import BYTES_PER_TOKEN
from evalkit.console import say
from evalkit.errors import EvalkitError
from evalkit.pipeline import evaluation, head_to_head, judge_audit, judging, plugins
from evalkit.pipeline.layout import IterationSlot, checkpoint_names, iterations, stage_of
from evalkit.pipeline.responses import iteration_prompts
from evalkit.pipeline.step import Plan
from evalkit.recipe import Recipe
from evalkit.records import Prompt, dumps
from evalkit.roles import Cost, Judge, PairRequest, PluginRef, RatingRequest
from evalkit.rundir import SPENDING, RunDir
from evalkit.stages import Stage


class JudgingCost(NamedTuple):
    """What one judge will be asked by all steps that are to do.

    budget_usd, budget_tokens: what its options allow for the whole run.
    spent_usd, spent_tokens: what counts towards these beside `cost`: what the run has spent
        already, and what it will spend by other judges, at the same model and host.
    """

    judge: str
    steps: tuple[str, ...]
    cost: Cost
    budget_usd: float | None
    budget_tokens: int | None
    spent_usd: float | None = None
    spent_tokens: int = 0


class _Asked(NamedTuple):
    """A judge as a recipe has it, and what steps ask of it."""

    judge: Judge
    steps: tuple[str, ...]
    cost: Cost


def estimates(
    plan: Plan, to_do: Sequence[str], spent_by: Mapping[str, Spent] | None = None
) -> list[JudgingCost]:
    """One per judge, in the order of the steps; of judges that cost nothing, none.

    to_do: names of the plan's steps that are not finished.
    spent_by: what the run has spent so far, by payee.
    """
    found: dict[str, _Asked] = {}
    for step, ref, cost in _costs(plan.recipe, set(to_do) & set(plan.by_name)):
        key = dumps(ref.model_dump())
        before = found.get(key)
        if before is None:
            found[key] = _Asked(plugins.make("judges", ref), (step,), cost)
        else:
            found[key] = _Asked(before.judge, (*before.steps, step), _sum(before.cost, cost))
    every = list(found.values())
    return [_with_budget(one, every, spent_by or {}) for one in every]


def _with_budget(
    one: _Asked, every: Sequence[_Asked], spent_by: Mapping[str, Spent]
) -> JudgingCost:
    options: Any = one.judge.options
    payee, price = one.judge.payee(), options.price_of()
    before = spent_by.get(payee, Spent())
    same = [other for other in every if payee and other.judge.payee() == payee]
    others = [other.cost for other in same if other is not one]
    usages = [before.usage, before.at_most, *(Usage(c.tokens_in, c.tokens_out) for c in others)]
    return JudgingCost(
        str(options.model or options.serve),
        one.steps,
        one.cost,
        options.budget_usd,
        options.budget_tokens,
        None if price is None else sum(price.usd(usage) for usage in usages),
        sum(sum(usage) for usage in usages),
    )


def accounts(run: RunDir) -> dict[str, Spent]:
    """What a run has spent so far, by model and host."""
    return read_accounts(Path(run.path / SPENDING))


def lines_of(described: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Them in words, and a warning where a budget will not do."""
    for values in described:
        one = JudgingCost(**{**values, "cost": Cost(**values["cost"])})
        cost = one.cost
        money = "price not known" if cost.usd is None else f"${cost.usd:,.2f} ({cost.price})"
        yield (
            f"judging by {one.judge}: about {cost.requests:,} requests, {cost.tokens_in:,} tokens"
            f" in and at most {cost.tokens_out:,} out, {money}"
        )
        usd = None if cost.usd is None else cost.usd + (one.spent_usd or 0)
        if one.budget_usd is not None and usd is not None and usd > one.budget_usd:
            yield (
                f"warning: budget_usd is {one.budget_usd:g}"
                f"{_beside(f'${one.spent_usd or 0:,.2f}', one.spent_tokens)}:"
                " the run will stop on the way"
            )
        tokens = cost.tokens_in + cost.tokens_out + one.spent_tokens
        if one.budget_tokens is not None and tokens > one.budget_tokens:
            yield (
                f"warning: budget_tokens is {one.budget_tokens:,}"
                f"{_beside(f'{one.spent_tokens:,}', one.spent_tokens)}:"
                " the run will stop on the way"
            )


def _beside(amount: str, tokens: int) -> str:
    """What else counts towards a budget, where there is anything."""
    return f", of which {amount} are spent, or due by other judges on this model" if tokens else ""


def describe_estimates(costs: Sequence[JudgingCost]) -> list[dict[str, Any]]:
    """Them as JSON values."""
    return [
        {**one._asdict(), "steps": list(one.steps), "cost": one.cost._asdict()} for one in costs
    ]


def spent(run: RunDir) -> dict[str, Any]:
    """What a run has spent so far, by model and host, as JSON values."""
    return {payee: _spent(one) for payee, one in sorted(accounts(run).items())}


def spent_lines(described: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """The same in words; money stands with the results, whose prices it is of."""
    for payee, one in described.items():
        text = (
            f"asked of {payee}: {one['requests']:,} requests, {one['tokens_in']:,} tokens in,"
            f" {one['tokens_out']:,} out"
        )
        if one["uncounted_requests"]:
            text += (
                f"; {one['uncounted_requests']:,} more came back without a count, of at most"
                f" {one['uncounted_tokens_at_most']:,} tokens"
            )
        yield text


def announce(plan: Plan, to_do: Sequence[str], run: RunDir) -> None:
    """Says what judging will cost, before anything is asked."""
    for line in lines_of(describe_estimates(estimates(plan, to_do, accounts(run)))):
        say(line)


def _spent(one: Spent) -> dict[str, Any]:
    return {
        "requests": one.attempts,
        "tokens_in": one.usage.tokens_in,
        "tokens_out": one.usage.tokens_out,
        "uncounted_requests": one.uncounted,
        "uncounted_tokens_at_most": sum(one.at_most),
    }


def _costs(recipe: Recipe, to_do: set[str]) -> Iterator[tuple[str, PluginRef, Cost]]:
    ref, audit = recipe.evaluation.judge, recipe.evaluation.audit
    second = None if audit is None else audit.second
    if any(_has_a_price(one) for one in (ref, second)):
        for benchmark_ref in recipe.evaluation.benchmarks:
            names = [evaluation.step_name(one, benchmark_ref) for one in checkpoint_names(recipe)]
            asked = _asked_by(benchmark_ref) if to_do & set(names) else []
            again = [] if audit is None else judge_audit.drawn(asked, audit.items, recipe.seed)
            if audit is not None and audit.swapped:
                pairs = [one for one in again if not isinstance(one, RatingRequest)]
                asked = [*asked, *map(judge_audit.swapped, pairs)]
            for who, questions in ((ref, asked), (second, again)):
                cost = _of_questions(who, questions)
                if who is not None and cost is not None and cost.requests:
                    yield from ((name, who, cost) for name in names if name in to_do)
    for slot in iterations(recipe):
        name, stage = judging.step_name(slot.name), stage_of(recipe, slot)
        if name in to_do and stage.judge is not None:
            cost = _of_iteration(recipe, slot.stage_index, slot.position)
            if cost is not None and cost.requests:
                yield name, stage.judge, cost
        yield from _of_head_to_head(recipe, slot, to_do)


def _has_a_price(ref: PluginRef | None) -> bool:
    return ref is not None and plugins.make("judges", ref).estimate([]) is not None


def _asked_by(ref: PluginRef) -> list[Any]:
    """What a benchmark asks of its judge about one checkpoint."""
    try:
        return list(plugins.make("benchmarks", ref).judgements(evaluation.open_source) or [])
    except EvalkitError:  # data that is not on this machine, which the checks have told
        return []


def _of_questions(ref: PluginRef | None, questions: Sequence[Any]) -> Cost | None:
    judge: Judge | None = None if ref is None else plugins.make("judges", ref)
    try:
        return None if judge is None or not questions else judge.estimate(questions)
    except EvalkitError:  # prompts of the judge that are not here
        return None


def _of_iteration(recipe: Recipe, stage_index: int, position: int) -> Cost | None:
    """Both orders of every pair of responses, each as long as it may be."""
    whole = recipe.stages[stage_index]
    stage = whole.of_iteration(position)
    assert stage.judge is not None
    if not _has_a_price(stage.judge):
        return None
    try:
        prompts = plugins.make("sources", stage.prompts).prompts()
        asked = _pairs(stage, iteration_prompts(whole, position, prompts))
    except EvalkitError:
        return None
    samples = plugins.make("methods", stage.method).needs().samples
    cost = _of_questions(stage.judge, asked)
    return None if cost is None else _times(cost, samples * (samples - 1))


def _of_head_to_head(
    recipe: Recipe, slot: IterationSlot, to_do: set[str]
) -> Iterator[tuple[str, PluginRef, Cost]]:
    """Both orders of an iteration's answer and its parent's to every held-out prompt."""
    rounds, names = head_to_head.rounds(recipe, slot), head_to_head.step_names(recipe, slot)
    for one, name in zip(rounds, names, strict=True):
        if name not in to_do or not _has_a_price(one.judge):
            continue
        try:
            asked = _pairs(stage_of(recipe, slot), head_to_head.prompts_of(recipe, slot))
        except EvalkitError:
            continue
        cost = _of_questions(one.judge, asked)
        if cost is not None and cost.requests:
            yield name, one.judge, _times(cost, 2)


def _pairs(stage: Stage, prompts: Sequence[Prompt]) -> list[PairRequest]:
    """One for each prompt, of responses that are as long as they may be."""
    text = "x" * round(stage.sampling.max_new_tokens * BYTES_PER_TOKEN)
    return [PairRequest(prompt, text, text) for prompt in prompts]


def _sum(one: Cost, other: Cost) -> Cost:
    usd = None if one.usd is None or other.usd is None else one.usd + other.usd
    return Cost(
        one.requests + other.requests,
        one.tokens_in + other.tokens_in,
        one.tokens_out + other.tokens_out,
        usd,
        one.price,
    )


def _times(cost: Cost, count: int) -> Cost:
    usd = None if cost.usd is None else cost.usd * count
    tokens = (cost.tokens_in * count, cost.tokens_out * count)
    return Cost(cost.requests * count, *tokens, usd, cost.price)
