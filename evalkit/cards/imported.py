"""What a card says of a model that evalkit has not loaded: what was imported, what is stated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evalkit.cards import making, sources, values
from evalkit.cards.lineage import parent_of, steps_of
from evalkit.cards.links import hub_page, is_hub_id, member_link
from evalkit.family import Family, Member, ModelFacts, StatedFacts, StatedStep
from evalkit.markdown import Markdown, escape, link
from evalkit.standings import imported_from

RELATIONS = {
    None: "derives from",
    "finetune": "is a fine-tune of",
    "quantized": "is a quantized form of",
    "merge": "is a merge with",
    "adapter": "is an adapter for",
}


@dataclass(frozen=True)
class Unseen:
    """Where its results come from, what it is to its base, and what else was stated of it.

    tools: whose files its results were imported from. reported: whether figures of others are
    among them. parents_scores: the parent, where only that one's scores are known.
    """

    tools: list[str]
    reported: bool
    relation: str
    parents_scores: Markdown
    model: Markdown
    command: str
    quantized_by: str
    stated: Stated | None


@dataclass(frozen=True)
class Stated:
    """How it was made, by what somebody states."""

    made: Markdown
    maths: list[Markdown]
    data: Markdown
    schedule: Markdown
    settings: Markdown
    quantized: str
    source: Markdown


def unseen(family: Family, member: Member) -> Unseen | None:
    """None for a model that evalkit has loaded."""
    facts = member.imported
    if facts is None:
        return None
    parent = parent_of(family, member)
    borrowed = facts.relation == "quantized" and not member.results
    has = parent is not None and bool(parent.results)
    return Unseen(
        tools=sorted({tool for result in member.results if (tool := imported_from(result))}),
        reported=any("reported" in result.provenance for result in member.results),
        relation=RELATIONS[facts.relation],
        parents_scores=member_link(family, parent) if parent and borrowed and has else Markdown(""),
        model=Markdown("\n".join(_stated_of(member.model))),
        command=facts.command,
        quantized_by=member.stated.quantized_by if member.stated else "",
        stated=_stated(family, member),
    )


def _stated_of(model: ModelFacts) -> Iterator[str]:
    if model.architecture is not None:
        yield f"- architecture: {escape(model.architecture)}"
    if model.parameters is not None:
        yield f"- parameters: {values.count(model.parameters)}"
    if model.context_length is not None:
        yield f"- context length in tokens: {values.count(model.context_length)}"
    if model.size_bytes is not None:
        yield f"- size of all weight files: {values.size(model.size_bytes)}"


def _stated(family: Family, member: Member) -> Stated | None:
    """What is stated of the model and, of what was quantized, of those it was made from."""
    steps = steps_of(family, member)
    facts = member.stated or StatedFacts()
    if facts == StatedFacts() and not steps:
        return None
    known = [sources.method(name) for name in dict.fromkeys(one.method for one in steps)]
    data = list(dict.fromkeys(name for one in steps for name in one.data))
    return Stated(
        made=_steps(steps),
        maths=[Markdown(one["maths"]) for one in known if one["maths"]],
        data=Markdown(", ".join(_data_set(name) for name in data)),
        schedule=_schedule(facts),
        settings=_settings(steps),
        quantized=facts.quantized,
        source=_source(facts),
    )


def _steps(steps: Sequence[StatedStep]) -> Markdown:
    """One line for each step: by which method, from what, with which data."""
    return Markdown("\n".join(f"- {_step(one)}" for one in steps))


def _step(one: StatedStep) -> Markdown:
    method = making.method_link(one.method)
    told = [f"iteration {one.iteration} of {method}" if one.iteration else str(method)]
    if one.started_from:
        told.append(f"from {_model(one.started_from)}")
    if one.data:
        told.append(f"on {', '.join(_data_set(name) for name in one.data)}")
    if one.note:
        told.append(escape(one.note))
    return Markdown(", ".join(told))


def _model(name: str) -> Markdown:
    return link(name, hub_page(name)) if is_hub_id(name) and "/" in name else escape(name)


def _data_set(name: str) -> Markdown:
    if is_hub_id(name) and "/" in name:
        return link(name, hub_page(name, "datasets/"))
    return escape(name)


def _schedule(facts: StatedFacts) -> Markdown:
    """The whole schedule in its order, what this model has behind it in bold."""
    reached = facts.reached or 0
    parts = [f"**{escape(name)}**" if number <= reached else escape(name)
             for number, name in enumerate(facts.schedule, start=1)]  # fmt: skip
    return Markdown(" → ".join(parts))


def _settings(steps: Sequence[StatedStep]) -> Markdown:
    """The hyper-parameters of every step that has some, under its name if there are several."""
    told = [one for one in steps if one.settings]
    parts = []
    for one in told:
        shown = making.options(values.portable(one.settings))
        heading = f"{_step(one)}:\n\n" if len(told) > 1 else ""
        parts.append(f"{heading}{shown}")
    return Markdown("\n\n".join(parts))


def _source(facts: StatedFacts) -> Markdown:
    if not facts.source:
        return Markdown("")
    scheme, _, page = facts.source.partition("://")
    is_page = scheme in ("https", "http")
    shown = link(page, facts.source) if is_page else escape(facts.source)
    return Markdown(f"{shown} ({escape(facts.date)})" if facts.date else shown)
