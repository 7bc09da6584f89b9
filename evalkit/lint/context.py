"""What a rule may look at: the card, and what else is known of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.card_reading import Document


@dataclass(frozen=True)
class Context:
    """A card and its surroundings.

    folder: of the card, where it is a repository's own; None for a card by itself.
    config: the model's config.json, from the folder or given; empty where unknown.
    base_cards: cards of its bases that were given, which outweigh what is known of them.
    """

    card: Document
    folder: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    base_cards: tuple[Document, ...] = ()

    @cached_property
    def files(self) -> frozenset[str] | None:
        """Paths of the repository's files, relative to it; None where there is only the card."""
        if self.folder is None:
            return None
        found = (one for one in self.folder.rglob("*") if one.is_file())
        return frozenset(one.relative_to(self.folder).as_posix() for one in found)
