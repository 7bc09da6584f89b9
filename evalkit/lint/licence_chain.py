"""The licences of what a card's model was made from, as they are known or as given cards say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evalkit import baselines, licences
from evalkit.baselines import KnownModel
from evalkit.card_reading import Document
from evalkit.lint.context import Context
from evalkit.lint.licence_statements import stated
from evalkit.lint.names import plain


@dataclass(frozen=True)
class Base:
    """A model that this one was made from. sure: it is stated as a key, or known of this model."""

    line: int
    name: str
    sure: bool


@dataclass(frozen=True)
class Held:
    """A licence that a base, or what that was made from, is under today.

    earlier: ids that it was under before. source: who says so.
    """

    base: Base
    model: str
    licence: str
    earlier: tuple[str, ...]
    source: str


def own_model(context: Context) -> KnownModel | None:
    """The card's own model, where it is a known one."""
    found = (baselines.known(name.text) for name in context.subject.names)
    return next((model for model in found if model), None)


def bases(context: Context) -> tuple[Base, ...]:
    """What it was made from: as its metadata says, else as is known, else as its text says."""
    subject = context.subject
    if subject.base_ids:
        return tuple(Base(one.line, one.text, sure=True) for one in subject.base_ids)
    own = own_model(context)
    if own is not None:
        line = next(one.line for one in subject.names if baselines.known(one.text) is own)
        return (Base(max(line, 1), own.base, sure=True),) if own.base else ()
    found = {one.known_as: Base(one.line, one.known_as, sure=False) for one in subject.origins}
    return tuple(found.values())


def held(context: Context) -> tuple[Held, ...]:
    """The licences of all bases, each model's once."""
    given = {name: document for document in context.base_cards for name in _called(document)}
    found: dict[str, Held] = {}
    for base in bases(context):
        for one in _held(base, given):
            found.setdefault(one.model, one)
    return tuple(found.values())


def _held(base: Base, given: dict[str, Document]) -> Iterator[Held]:
    links = licences.chain(base.name)
    if not links:
        yield from _as_given(base, base.name, given)
    for link in links:
        past = tuple(one.id for one in link.licences)
        told = next(_as_given(base, link.model.id, given), None)
        # A card may be older than the licence that holds today.
        if told is not None and told.licence not in past:
            yield told
        elif link.licence is not None:
            yield Held(base, link.model.id, link.licence, past[:-1], link.licences[-1].source)


def _as_given(base: Base, model: str, given: dict[str, Document]) -> Iterator[Held]:
    document = given.get(plain(model))
    for statement in stated(document) if document else ():
        if statement.is_explicit and len(statement.licences) == 1:
            yield Held(base, model, statement.licences[0], (), "the base card that was given")


def _called(document: Document) -> set[str]:
    return {plain(name.text) for name in Context(document).subject.names}
