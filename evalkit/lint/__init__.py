"""Finds what is wrong with anybody's card, offline: one rule a file, over a card taken apart."""

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding, Severity
from evalkit.lint.linting import chosen, context_of, lint, mended, rules
from evalkit.lint.rule import Rule

__all__ = [
    "Context",
    "Finding",
    "Rule",
    "Severity",
    "chosen",
    "context_of",
    "lint",
    "mended",
    "rules",
]
