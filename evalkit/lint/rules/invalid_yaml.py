"""Front matter that no reader can load."""

from __future__ import annotations

from evalkit.lint.rule import Rule
from evalkit.lint.schema_faults import of_kind

RULE = Rule(
    code="EK101",
    name="invalid-yaml",
    summary="The front matter is no YAML, or no mapping of keys.",
    why="Hubs and libraries read none of it: no licence, no base, no results.",
    check=of_kind("syntax"),
)
