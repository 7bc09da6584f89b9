"""A mark before the first character that hides the metadata."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_MARK = "\ufeff"


def check(context: Context) -> Iterator[Finding]:
    """One finding where the file begins with it."""
    if context.card.text.startswith(_MARK):
        message = "the file begins with a byte order mark"
        yield Finding(1, message, "U+FEFF before the first character", "save it as UTF-8 without")


def mend(context: Context) -> str:
    """Takes the mark off."""
    return context.card.text.removeprefix(_MARK)


RULE = Rule(
    code="EK114",
    name="byte-order-mark",
    summary="The file begins with a byte order mark.",
    why="huggingface_hub, given the text, finds no metadata behind it.",
    check=check,
    severity="warning",
    mend=mend,
)
