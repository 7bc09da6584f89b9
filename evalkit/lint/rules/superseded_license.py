"""Licence terms that were replaced since the card was written."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit import baselines, licences
from evalkit.baselines import KnownModel
from evalkit.card_reading import Document
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.licence_chain import bases, own_model
from evalkit.lint.licence_statements import stated
from evalkit.lint.names import plain
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """Terms of the card, or of a given card of a base, that do not hold any longer."""
    own = own_model(context)
    if own is not None:
        for line, licence, shown in _terms(context.card):
            if _is_past(own, licence):
                yield _finding(line, own, licence, shown, "state the terms that hold: {now}")
    for base in bases(context):
        for link in licences.chain(base.name):
            for document in context.base_cards:
                if _is_about(document, link.model):
                    yield from _of_base(base.line, link.model, document)


def _of_base(line: int, model: KnownModel, document: Document) -> Iterator[Finding]:
    for at, licence, shown in _terms(document):
        if _is_past(model, licence):
            where = f"line {at} of the given card: {shown}"
            yield _finding(line, model, licence, where, "go by {now}, not by the given card")
            return


def _terms(card: Document) -> Iterator[tuple[int, str, str]]:
    """Line, licence and words of what a card states as its licence, or copies of its text."""
    for statement in stated(card):
        if len(statement.licences) == 1:
            yield statement.line, statement.licences[0], statement.text
    for line in card.prose:
        licence = licences.quoted(line.text)
        if licence:
            yield line.number, licence, f"{line.text.strip()[:100]}..."


def _is_past(model: KnownModel, licence: str) -> bool:
    return licence != model.licence and licence in {one.id for one in model.licences}


def _is_about(document: Document, model: KnownModel) -> bool:
    names = [name.text for name in Context(document).subject.names]
    return any(baselines.known(name) is model or plain(name) == plain(model.id) for name in names)


def _finding(line: int, model: KnownModel, licence: str, shown: str, fix: str) -> Finding:
    today = model.licences[-1]
    known = licences.terms(licence)
    return Finding(
        line,
        f"{model.id} is no longer under the {known.name if known else licence}: "
        f"its publisher put it under {today.id} ({today.since})",
        evidence=f"{shown}; {today.source}",
        fix=fix.format(now=f"{today.id}, since {today.since}"),
    )


RULE = Rule(
    code="EK204",
    name="superseded-license",
    summary="The card states or copies licence terms that its publisher has replaced.",
    why="Readers leave alone what they may use, or use what they may not any longer.",
    check=check,
    severity="warning",
)
