"""Models without a licence."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.card_schema import kind_of
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.licence_chain import held
from evalkit.lint.licence_statements import stated
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """One finding where the metadata names none; of a page without metadata, nor its text."""
    card = context.card
    if card.metadata_error is not None or card.metadata.get("license"):
        return
    if not card.has_metadata and stated(card):
        return
    told = next(iter(held(context)), None)
    why = f"; {told.model} is under {told.licence}" if told else ""
    # Whoever saves a page may have lost its head; data may be free of any rights.
    is_model = card.has_metadata and kind_of(card.metadata) == "model"
    yield Finding(
        1,
        f"the card names no licence{why}",
        fix="add license: and the id that the Hub has for it, e.g. apache-2.0 or llama3.1",
        severity="error" if is_model else "warning",
    )


RULE = Rule(
    code="EK113",
    name="missing-license",
    summary="The metadata names no licence.",
    why="What has no licence may not be used: nobody gave leave to.",
    check=check,
)
