"""What the judging that a plan still has to do will cost, about, and what was spent so far.

Only judges that answer for tokens are told of; what comes with a kill's lost answers is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.chat_client import Spent, read_accounts
from evalkit.console import say
from evalkit.errors import EvalkitError
from evalkit.pipeline import evaluation, judge_audit, judging, plugins
from evalkit.pipeline.layout import checkpoint_names, iterations, stage_of
from evalkit.pipeline.responses import iteration_prompts
from evalkit.pipeline.step import Plan
from evalkit.recipe import Recipe
from evalkit.records import dumps
from evalkit.roles import Cost, Judge, PairRequest, PluginRef, RatingRequest
from evalkit.rundir import SPENDING, RunDir

# Of a response that is not there yet: as many bytes as its tokens may have, in English.
BYTES_PER_TOKEN = 4.8


class JudgingCost(NamedTuple):
    """What one judge will be asked by all steps that are to do.

    budget_usd, budget_tokens: what its options allow for the whole run.
    """

    judge: str
    steps: tuple[str, ...]
    cost: Cost
    budget_usd: float | None
    budget_tokens: int | None


def estimates(plan: Plan, to_do: Sequence[str]) -> list[JudgingCost]:
    """One per judge, in the order of the steps; of judges that cost nothing, none.

    to_do: names of the plan's steps that are not finished.
    """
    found: dict[str, JudgingCost] = {}
    for step, ref, cost in _costs(plan.recipe, set(to_do) & set(plan.by_name)):
        options: Any = plugins.make("judges", ref).options
        key = dumps(ref.model_dump())
        before = found.get(key)
        found[key] = JudgingCost(
            str(options.model or options.serve),
            (*(before.steps if before else ()), step),
            _sum(before.cost, cost) if before else cost,
            options.budget_usd,
            options.budget_tokens,
        )
    return list(found.values())


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
        if one.budget_usd is not None and cost.usd is not None and cost.usd > one.budget_usd:
            yield f"warning: budget_usd is {one.budget_usd:g}: the run will stop on the way"
        tokens = cost.tokens_in + cost.tokens_out
        if one.budget_tokens is not None and tokens > one.budget_tokens:
            yield f"warning: budget_tokens is {one.budget_tokens:,}: the run will stop on the way"


def describe_estimates(costs: Sequence[JudgingCost]) -> list[dict[str, Any]]:
    """Them as JSON values."""
    return [
        {**one._asdict(), "steps": list(one.steps), "cost": one.cost._asdict()} for one in costs
    ]


def spent(run: RunDir) -> dict[str, Any]:
    """What a run has spent so far, by model and host, as JSON values."""
    return {payee: _spent(one) for payee, one in sorted(_accounts(run).items())}


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


def announce(plan: Plan, to_do: Sequence[str]) -> None:
    """Says what judging will cost, before anything is asked."""
    for line in lines_of(describe_estimates(estimates(plan, to_do))):
        say(line)


def _accounts(run: RunDir) -> dict[str, Spent]:
    return read_accounts(Path(run.path / SPENDING))


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
    judge: Judge = plugins.make("judges", stage.judge)
    if judge.estimate([]) is None:
        return None
    samples = plugins.make("methods", stage.method).needs().samples
    text = "x" * round(stage.sampling.max_new_tokens * BYTES_PER_TOKEN)
    try:
        prompts = plugins.make("sources", stage.prompts).prompts()
        asked = [PairRequest(p, text, text) for p in iteration_prompts(whole, position, prompts)]
        cost = judge.estimate(asked)
    except EvalkitError:
        return None
    return None if cost is None else _times(cost, samples * (samples - 1))


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
