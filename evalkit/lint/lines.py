"""Single lines of a card by their number: read, and exchanged while the rest stays as it is."""

from __future__ import annotations

from collections.abc import Mapping

from evalkit.card_reading import Document


def line_text(card: Document, number: int) -> str:
    """The text of a line; empty for one that is none."""
    return next((line.text for line in card.lines if line.number == number), "")


def with_lines(card: Document, changed: Mapping[int, str]) -> str:
    """The card's text with other lines at these numbers."""
    texts = card.text.split("\n")
    for index, line in enumerate(card.lines):
        if line.number in changed:
            texts[index] = changed[line.number]
    return "\n".join(texts)
