"""An address that only the author's own network can reach."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

# Source: RFC 1918, section 3, and the names that RFC 6762 and RFC 9476 set aside for own networks.
_ADDRESS = re.compile(
    r"https?://(?:10(?:\.\d{1,3}){3}|192\.168(?:\.\d{1,3}){2}|172\.(?:1[6-9]|2\d|3[01])(?:\.\d{1,3}){2}"
    r"|[\w.-]+\.(?:local|internal|intranet|corp|lan))(?![\w.-])"
)


def check(context: Context) -> Iterator[Finding]:
    """Each line that holds one; localhost is the reader's own machine, and fine."""
    for line in context.card.lines:
        mark = _ADDRESS.search(line.text)
        if mark:
            yield Finding(
                line.number,
                "the card names an address within somebody's own network",
                evidence=mark[0],
                fix="give a public address, or take it out",
            )


RULE = Rule(
    code="EK603",
    name="private-address",
    summary="An address of a private network stands in the card.",
    why="It leads nowhere for a reader, and tells how a network is laid out.",
    check=check,
    severity="warning",
)
