"""A base model that is named as it lay on the author's disk."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.card_schema import Fault
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule
from evalkit.lint.schema_faults import findings


def check(context: Context) -> Iterator[Finding]:
    """Every `base_model` that is not the id of a repository."""
    yield from findings(context, _is_base)


def _is_base(fault: Fault) -> bool:
    return fault.kind == "value" and fault.path[0] == "base_model"


RULE = Rule(
    code="EK108",
    name="local-base-model",
    summary="The base model is no id of a repository: it has no owner, or is a path or an address.",
    why="Its link leads nowhere, the model tree ends, and nobody can tell what was fine-tuned.",
    check=check,
)
