"""Roles that bring something in: prompts, base checkpoints, results of other tools."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import RecipeError
from evalkit.records import Prompt, Question, ResultSet
from evalkit.roles.plugin import Plugin, Progress


class Source(Plugin, ABC):
    """Where prompts come from. Deterministic in its options."""

    def prompts(self) -> list[Prompt]:
        """Single prompts (or conversations ending in a user turn), in a fixed order."""
        raise RecipeError(f"source {self!r} has no prompts")

    def questions(self) -> list[Question]:
        """Multi-turn questions, in a fixed order."""
        raise RecipeError(f"source {self!r} has no multi-turn questions")

    @abstractmethod
    def description(self) -> Mapping[str, str]:
        """`name`, `digest`, and where it has one the Hub `dataset` id and `revision`."""


class Builder(Plugin, ABC):
    """Makes a base checkpoint from nothing, deterministically in its options."""

    @abstractmethod
    def build(self, folder: Path, progress: Progress) -> None:
        """Writes an ordinary transformers checkpoint into the existing, empty `folder`."""

    @abstractmethod
    def description(self) -> Mapping[str, str]:
        """`how`: plain words on how the base was made, `license`, `languages`: for its card."""


class Imported(NamedTuple):
    """Results that another tool wrote: the model as its files name it, and the scores.

    result: `checkpoint` and `checkpoint_digest` are empty, as no weights were seen; provenance
        holds `imported`: {"tool", "file", "sha256", "model"} of what was read.
    """

    model: str
    result: ResultSet


class Importer(Plugin, ABC):
    """Reads the result files of another tool."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether the file or folder is one that this importer reads; opens no more than it must.

        Of a folder that holds such results further down, only the lowest one is recognised.
        """

    @abstractmethod
    def read(self, path: Path) -> list[Imported]:
        """Every result in it.

        Raises:
            RecipeError: the file is damaged, or says something impossible.
        """

    def yields_to(self, path: Path) -> Path | None:
        """A file beside it that says the same and more: in a folder, that alone is read."""
        return None
