"""Cards without front matter."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """One finding where there is no block at all."""
    if not context.card.has_metadata:
        yield Finding(
            1,
            "the card has no metadata",
            fix="begin it with a block of YAML between two lines of ---: license, base_model, ...",
        )


RULE = Rule(
    code="EK112",
    name="missing-metadata",
    summary="The card does not begin with a block of metadata.",
    why="Hubs then know neither licence nor base, and no search finds the model by them.",
    check=check,
    severity="warning",
)
