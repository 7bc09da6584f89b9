"""A key or token in the card."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule
from evalkit.private_text import secrets


def check(context: Context) -> Iterator[Finding]:
    """Every line that holds one; the secret itself is never shown."""
    for line in context.card.lines:
        for found in secrets(line.text.encode("utf-8", "replace")):
            yield Finding(
                line.number,
                f"the card holds what looks like {found.what}",
                evidence=f"from column {found.position + 1} on",
                fix="revoke it, then take it out: the history of a repository keeps it",
            )


RULE = Rule(
    code="EK601",
    name="secret",
    summary="A key, token or private key stands in the card.",
    why="Public repositories are searched for them within minutes.",
    check=check,
)
