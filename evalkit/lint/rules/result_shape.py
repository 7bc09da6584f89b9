"""Evaluation results in the metadata that readers cannot take as they are."""

from __future__ import annotations

from evalkit.lint.rule import Rule
from evalkit.lint.schema_faults import of_kind

RULE = Rule(
    code="EK110",
    name="result-shape",
    summary="An evaluation result of `model-index` lacks a part, or is merged with another.",
    why="One wrong entry makes huggingface_hub refuse, or drop, all results of the card.",
    check=of_kind("results"),
)
