"""Two licences for one model on one card."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.licence_statements import stated
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """Every statement that cannot mean the first one's licence; the metadata's comes first."""
    statements = stated(context.card)
    for other in statements[1:]:
        first = statements[0]
        if not other.agrees(first):
            yield Finding(
                other.line,
                f"the licence is said to be {' or '.join(other.licences)} here, "
                f"and {' or '.join(first.licences)} in line {first.line}",
                evidence=f"'{other.text}' against '{first.text}' (line {first.line})",
                fix="find out which holds, and say it everywhere",
                severity="error" if other.is_explicit and first.is_explicit else "warning",
            )


RULE = Rule(
    code="EK201",
    name="license-contradiction",
    summary="The card names two licences: metadata against text, or one place of the text another.",
    why="Whoever relies on the freer one may break the other.",
    check=check,
)
