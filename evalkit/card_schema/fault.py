"""What is wrong with a card's metadata, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evalkit.frontmatter import KeyPath as KeyPath

Severity = Literal["error", "warning"]
# syntax: no readable YAML. duplicate: a key, or a result, twice. trap: YAML reads it as something
# else than was meant. misspelt, unknown: a key. type, value: of what a key holds. license: its id,
# name and link. results: the shape of evaluation results.
Kind = Literal[
    "syntax", "duplicate", "trap", "misspelt", "unknown", "type", "value", "license", "results"
]


@dataclass(frozen=True)
class Fault:
    """One thing wrong.

    path: of the key or list item; empty for the whole. line: within the YAML, from 0, where the
    path does not tell it. severity: `warning` for what the Hub accepts and readers stumble over.
    """

    path: KeyPath
    kind: Kind
    message: str
    fix: str = ""
    severity: Severity = "error"
    line: int | None = None

    @property
    def where(self) -> str:
        """The path in one word: `model-index.0.results.2.metrics`."""
        return ".".join(map(str, self.path))
