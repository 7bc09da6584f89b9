"""Values of the metadata that are not what their key takes."""

from __future__ import annotations

from evalkit.lint.rule import Rule
from evalkit.lint.schema_faults import of_kind

RULE = Rule(
    code="EK106",
    name="wrong-type",
    summary="A value of the metadata is of another type than its key takes, or no plain value.",
    why="The Hub refuses the card, or libraries fail on it, as on NaN and numbers of numpy.",
    check=of_kind("type"),
)
