"""What a rule may look at: the card, and what else is known of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.card_reading import Document, Scores, scores
from evalkit.checkpoint_size import parameters
from evalkit.errors import EvalkitError
from evalkit.lint.subject import Subject

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Context:
    """A card and its surroundings.

    folder: of the card, where it is a repository's own; None for a card by itself.
    config: the model's config.json, from the folder or given; empty where unknown.
    base_cards: cards of its bases that were given, which outweigh what is known of them.
    model: its id on the Hub, where it was asked for by that; else empty.
    """

    card: Document
    folder: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    base_cards: tuple[Document, ...] = ()
    model: str = ""

    @cached_property
    def subject(self) -> Subject:
        """The model that the card is about."""
        return Subject(self)

    @cached_property
    def scores(self) -> Scores:
        """The figures that the card states, and its tables of them."""
        return scores(self.card)

    @cached_property
    def files(self) -> frozenset[str] | None:
        """Paths of the repository's files, relative to it; None where there is only the card."""
        if self.folder is None:
            return None
        found = (one for one in self.folder.rglob("*") if one.is_file())
        return frozenset(one.relative_to(self.folder).as_posix() for one in found)

    @cached_property
    def stored_parameters(self) -> int | None:
        """Parameters in the folder's safetensors files; None without, or for an adapter's."""
        if self.folder is None or (self.folder / ADAPTER_CONFIG).is_file():
            return None
        try:
            return parameters(self.folder)
        except (EvalkitError, OSError, LookupError, TypeError, ValueError):
            return None  # none, damaged, or in a form that has no single number
