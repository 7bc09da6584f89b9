"""The family of a card order: its models, their results and figures, and what is stated of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from evalkit import __version__
from evalkit.baselines import ReportedScore, known, reported, results_of
from evalkit.cards.links import PUBLIC_HUB, is_hub_id
from evalkit.errors import RecipeError, did_you_mean
from evalkit.family import Family, ImportFacts, Member, ModelFacts, StatedFacts, StatedStep
from evalkit.pipeline.card_order import CardOrder, Figure, MadeStep, Relative
from evalkit.pipeline.model_facts import UNKNOWN, facts_of
from evalkit.pipeline.result_files import Reading, combined, read
from evalkit.recipe import as_data
from evalkit.records import Checkpoint, ResultSet


def family_of(order: CardOrder, command: str) -> Family:
    """The model whose card is ordered, its base and siblings: by their iterations, then as given.

    command: what builds the card again.

    Raises:
        RecipeError: no results are recognised, it is not clear which are the model's, or a figure
            is of no task that evalkit knows.
    """
    own = _own(order, command)
    others = [_other(order, order.base)] if order.base else []
    others += [_other(order, one) for one in order.siblings]
    return Family(
        name=own.title,
        members=tuple(sorted([*others, own], key=_place)),
        comparisons=(),
        card=as_data(order.card),
        recipe={"publish": {"endpoint": PUBLIC_HUB}},
        base_source=order.base.model if order.base else None,
        versions={"evalkit": __version__},
        published=own.repo_id is not None,
    )


def _place(one: Member) -> float:
    """Where a model stands in its family: what is quantized behind what it was made from."""
    if one.imported and one.imported.relation == "quantized":
        return math.inf
    steps = one.stated.steps if one.stated else ()
    return (steps[-1].iteration or 1) if steps else 0


def _own(order: CardOrder, command: str) -> Member:
    results = _imported(order) if order.results else ()
    quantized = order.quantized
    base = order.base.model if order.base else None
    relation = "quantized" if quantized else order.relation
    stated = StatedFacts(
        steps=tuple(_step(one) for one in order.made),
        quantized=quantized.to if quantized else "",
        quantized_by=quantized.by if quantized else "",
        schedule=order.schedule.steps if order.schedule else (),
        reached=order.schedule.reached if order.schedule else None,
        source=order.source,
        date=order.date,
    )
    return Member(
        checkpoint=Checkpoint(order.model, "", "", "", parent=base),
        kind="imported",
        title=_title(order.model),
        repo_id=_repo(order.model),
        model=_model(order, base if relation == "quantized" else None),
        results=(*results, *_figures(order, order.model)),
        imported=ImportFacts(relation, command),
        stated=stated if stated != StatedFacts() else None,
        superseded_by=order.new_version,
    )


def _model(order: CardOrder, same_as: str | None) -> ModelFacts:
    """What the config or the order says of the weights, else what is known of a published model.

    same_as: the model of the same shape that it was quantized from.
    """
    found = facts_of(order.config, order.parameters, order.architecture, order.context_length)
    one = known(order.model) or (known(same_as) if same_as else None)
    if one is None:
        return found
    return replace(
        found,
        parameters=found.parameters or one.parameters,
        context_length=found.context_length or one.context_length,
    )


def _other(order: CardOrder, one: Relative) -> Member:
    steps = tuple(_step(step) for step in one.made)
    return Member(
        checkpoint=Checkpoint(one.model, "", "", ""),
        kind="imported",
        title=_title(one.model),
        repo_id=_repo(one.model),
        model=UNKNOWN,
        results=_figures(order, one.model),
        imported=ImportFacts(None, ""),
        stated=StatedFacts(steps) if steps else None,
    )


def _title(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2]


def _repo(model: str) -> str | None:
    return model if is_hub_id(model) and "/" in model else None


def _step(one: MadeStep) -> StatedStep:
    return StatedStep(**one.model_dump())


# --- results of tools ----------------------------------------------------------------------------


def _imported(order: CardOrder) -> tuple[ResultSet, ...]:
    """The results that are the ordered model's."""
    readings = read(order.results, order.importer)
    names = sorted({one.imported.model for one in readings})
    for name in order.named:
        if name not in names:
            raise RecipeError(f"no result is of a model called '{name}'", did_you_mean(name, names))
    return combined(order.model, _chosen(order, readings, names))


def _chosen(order: CardOrder, readings: Sequence[Reading], names: Sequence[str]) -> list[Reading]:
    wanted = set(order.named) or _alike(order.model, names)
    if not wanted:
        raise RecipeError(
            f"the results are of {len(names)} models, and none is called {order.model}",
            f"choose with --as NAME: {', '.join(names)}",
        )
    return [one for one in readings if one.imported.model in wanted]


def _alike(model: str, names: Sequence[str]) -> set[str]:
    """The only model there is, or those that are called as the ordered one is."""
    return set(names) if len(names) == 1 else {model, _title(model)} & set(names)


# --- figures of others ---------------------------------------------------------------------------


def _figures(order: CardOrder, model: str) -> tuple[ResultSet, ...]:
    """A result set for each page and suite that has figures of a model, the stated ones first."""
    stated = [_of_file(one, model) for one in order.figures if (one.model or order.model) == model]
    wanted = order.figures_of_others == "known"
    listed = [one for one in reported() if wanted and one.model == model]
    said = {(one.task, one.metric, one.value) for one in stated}
    # What the order states itself is not shown once more, in the words of evalkit's own list.
    more = [one for one in listed if (one.task, one.metric, one.value) not in said]
    return results_of(model, [*stated, *more])


def _of_file(one: Figure, model: str) -> ReportedScore:
    return ReportedScore(
        model=model,
        task=one.task,
        metric=one.metric,
        value=float(one.value),
        decimals=len(one.value.partition(".")[2]),
        by=one.by,
        source=one.source,
        date=one.date,
        settings=one.settings,
    )
