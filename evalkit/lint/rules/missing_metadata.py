"""Cards without front matter, or with one that does not stand first."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

# A block that only blank lines keep from the first line, where it has to begin.
_LATE = re.compile(r"\s+(?=---\s*\n(?:.*\n)*?---\s*(?:\n|$))")


def check(context: Context) -> Iterator[Finding]:
    """One finding where no block begins in the first line."""
    card = context.card
    if card.has_metadata:
        return
    if _LATE.match(card.text):
        yield Finding(
            1,
            "the metadata does not begin in the first line",
            evidence="blank lines before the first ---",
            fix="take them out",
        )
        return
    fix = "begin it with a block of YAML between two lines of ---: license, base_model, ..."
    yield Finding(1, "the card has no metadata", fix=fix)


def mend(context: Context) -> str:
    """Takes out the blank lines before a block."""
    late = None if context.card.has_metadata else _LATE.match(context.card.text)
    return context.card.text[late.end() :] if late else context.card.text


RULE = Rule(
    code="EK112",
    name="missing-metadata",
    summary="The card does not begin with a block of metadata.",
    why="Hubs then know neither licence nor base, and no search finds the model by them.",
    check=check,
    severity="warning",
    mend=mend,
)
