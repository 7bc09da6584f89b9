"""Values of the metadata that the Hub does not know."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.card_schema import Fault
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule
from evalkit.lint.schema_faults import findings


def check(context: Context) -> Iterator[Finding]:
    """Values that their key does not take; those of `base_model` have a rule of their own."""
    yield from findings(context, _is_value)


def _is_value(fault: Fault) -> bool:
    return fault.kind == "value" and fault.path[0] != "base_model"


RULE = Rule(
    code="EK107",
    name="wrong-value",
    summary="A key of the metadata has a value that the Hub does not know.",
    why="A relation, a task or a language that does not exist puts the model where nobody looks.",
    check=check,
)
