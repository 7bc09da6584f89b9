"""What a card says of a model that evalkit has not loaded, whose results were imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evalkit.cards import values
from evalkit.family import Member, ModelFacts
from evalkit.markdown import Markdown, escape
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
    """Where its results come from, what it is to its base, and what else was stated of it."""

    tools: list[str]
    relation: str
    model: Markdown
    command: str


def unseen(member: Member) -> Unseen | None:
    """None for a model that evalkit has loaded."""
    facts = member.imported
    if facts is None:
        return None
    return Unseen(
        tools=sorted({imported_from(result) for result in member.results}),
        relation=RELATIONS[facts.relation],
        model=Markdown("\n".join(_stated(member.model))),
        command=facts.command,
    )


def _stated(model: ModelFacts) -> Iterator[str]:
    if model.architecture is not None:
        yield f"- architecture: {escape(model.architecture)}"
    if model.parameters is not None:
        yield f"- parameters: {values.count(model.parameters)}"
    if model.context_length is not None:
        yield f"- context length in tokens: {values.count(model.context_length)}"
    if model.size_bytes is not None:
        yield f"- size of all weight files: {values.size(model.size_bytes)}"
