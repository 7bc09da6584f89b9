"""What a rule may look at: the card, and what else is known of its model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.card_reading import Document, Scores, scores
from evalkit.errors import EvalkitError
from evalkit.lint.subject import Subject

ADAPTER_CONFIG = "adapter_config.json"
WEIGHT_INDEX = "model.safetensors.index.json"
_NO_CONTENT = frozenset({".git", ".cache", ".venv", "__pycache__"})  # of a repository's folder


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
        found: set[str] = set()
        for place, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if name not in _NO_CONTENT]
            found |= {Path(place, name).relative_to(self.folder).as_posix() for name in names}
        return frozenset(found)

    @cached_property
    def stored_parameters(self) -> int | None:
        """Parameters in the folder's safetensors files; None where not all are there, or packed."""
        if self.folder is None or (self.folder / ADAPTER_CONFIG).is_file():
            return None
        packed = self.config.get("quantization_config")
        if isinstance(packed, Mapping) and packed.get("quant_method") != "compressed-tensors":
            return None  # several to a stored number, in ways of its own
        from evalkit.checkpoint_size import parameters  # only where there are weights

        try:
            return parameters(self.folder) if _is_whole(self.folder) else None
        except (EvalkitError, OSError, LookupError, TypeError, ValueError):
            return None  # none, or damaged


def _is_whole(folder: Path) -> bool:
    """Whether every file is there that the index of the weights names, where there is one."""
    index = folder / WEIGHT_INDEX
    if not index.is_file():
        return True
    named = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    return all((folder / name).is_file() for name in named)
