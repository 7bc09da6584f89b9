"""A card that breaks off."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_CUT = re.compile(
    r"\[(?:\.\.\.|…)\]\s*$|\[truncated\]|\(truncated\)|(?:\.\.\.|…)\s*(?:read|see|show) more\s*$",
    re.IGNORECASE,
)
_OPEN_LINK = re.compile(r"\[[^\[\]]*\]\([^()\s]*$|\[[^\[\]]*$")
_LONG = 20  # characters of a last line that is no checkbox or mark


def check(context: Context) -> Iterator[Finding]:
    """Marks of a cut, a code block without an end, and a link that the card ends in."""
    card = context.card
    fix = "put the missing text back"
    for line in card.prose:
        mark = _CUT.search(line.text)
        if mark:
            yield Finding(line.number, "the text was cut off here", mark[0].strip(), fix)
    for block in card.code_blocks:
        if not block.closed:
            evidence = "no fence follows the one in this line"
            yield Finding(block.line, "the code block never ends", evidence, "close it")
    last = next((line for line in reversed(card.body) if line.text.strip()), None)
    if last is not None and last.kind == "text" and len(last.text.strip()) >= _LONG:
        mark = _OPEN_LINK.search(last.text)
        if mark:
            yield Finding(last.number, "the card ends within a link", mark[0][:60], fix)


RULE = Rule(
    code="EK509",
    name="truncated-text",
    summary="The card's text breaks off: a cut sentence, an open code block or link.",
    why="What is missing may have been the limitations.",
    check=check,
    severity="warning",
)
