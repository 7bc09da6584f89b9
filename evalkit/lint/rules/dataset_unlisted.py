"""A data set that the text says the model was trained on, and the metadata does not list."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.datasets_named import listed, trained_on
from evalkit.lint.finding import Finding
from evalkit.lint.names import plain
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """Each such data set once, where it is first named."""
    card = context.card
    if not card.has_metadata or card.metadata_error:
        return
    known = {plain(one.id) for one in listed(card)}
    for named in trained_on(card):
        if plain(named.id) in known or any(plain(named.id) in one for one in known):
            continue
        known.add(plain(named.id))
        yield Finding(
            named.line,
            f"the text speaks of training with {named.id}, which `datasets` does not list",
            evidence=named.evidence,
            fix=f"add {named.id} to `datasets`",
        )


RULE = Rule(
    code="EK407",
    name="dataset-unlisted",
    summary="A data set that the text says was used in training is not in the metadata.",
    why="The Hub links models with their data by the metadata alone; licences and contamination"
    " are judged by it.",
    check=check,
    severity="warning",
)
