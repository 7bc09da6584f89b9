"""Commercial use that the text offers and the licence forbids."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit import licences
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.licence_chain import held
from evalkit.lint.licence_statements import stated
from evalkit.lint.rule import Rule

_OFFERED = re.compile(
    r"\b(?:free|allowed|permitted|intended|suitable|available|open|licensed|usable|ready"
    r"|(?:can|may)\s+(?:be\s+)?used?)\b[^.]{0,60}\bcommercial(?:ly)?\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\bnon-?\s?commercial|\b(?:not|no|never|neither|nor|without|unless|except|only|cannot|can't|prohibited"
    r"|separate|request|restrict\w*)\b",
    re.IGNORECASE,
)


def check(context: Context) -> Iterator[Finding]:
    """Sentences that offer commercial use where no licence of the chain grants it."""
    forbidding = next(_forbidding(context), None)
    if forbidding is None:
        return
    for sentence in context.card.sentences:
        mark = _OFFERED.search(sentence.text)
        if mark and not _DENIED.search(sentence.text):
            yield Finding(
                sentence.line,
                f"commercial use is offered, which {forbidding} forbids",
                evidence=" ".join(sentence.text.split())[:120],
                fix="say for what the model may be used",
            )


def _forbidding(context: Context) -> Iterator[str]:
    for statement in stated(context.card):
        if statement.how == "metadata" and all(_forbids(one) for one in statement.licences):
            yield f"its licence, {statement.licences[0]} (line {statement.line}),"
    for one in held(context):
        if _forbids(one.licence):
            yield f"the licence of its base {one.model}, {one.licence},"


def _forbids(licence: str) -> bool:
    terms = licences.terms(licence)
    return terms is not None and terms.commercial == "forbidden"


RULE = Rule(
    code="EK205",
    name="commercial-claim",
    summary="The text offers commercial use that the licence, or a base's, forbids.",
    why="Who builds a product on it finds out from the publisher's lawyers.",
    check=check,
    severity="warning",
)
