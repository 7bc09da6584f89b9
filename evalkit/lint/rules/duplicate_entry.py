"""Keys and results that stand twice in the metadata."""

from __future__ import annotations

from evalkit.lint.rule import Rule
from evalkit.lint.schema_faults import of_kind

RULE = Rule(
    code="EK102",
    name="duplicate-entry",
    summary="A key, or an evaluation result, stands twice in the metadata.",
    why="Some readers take the first, some the last, and some refuse the whole.",
    check=of_kind("duplicate"),
)
