"""Keys of the metadata that neither the Hub nor custom knows."""

from __future__ import annotations

from evalkit.lint.rule import Rule
from evalkit.lint.schema_faults import of_kind

RULE = Rule(
    code="EK105",
    name="unknown-key",
    summary="The metadata has a key that the Hub does not know.",
    why="What it says is shown to nobody and found by no search.",
    check=of_kind("unknown"),
    severity="warning",
)
