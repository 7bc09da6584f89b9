"""Faults of a card's metadata by the written schema, as findings with the lines of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from evalkit import card_schema, frontmatter
from evalkit.card_schema import Fault
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding


def faults(context: Context) -> tuple[Fault, ...]:
    """What is wrong with the metadata; nothing where there is none."""
    block = frontmatter.split(context.card.text)[0]
    kind = card_schema.kind_of(context.card.metadata)
    return () if block is None else card_schema.check(block, kind)


def line_of(context: Context, fault: Fault) -> int:
    """The line of the file that a fault stands in."""
    card = context.card
    if fault.path or fault.line is None:
        return card.key_line(*fault.path)
    # One line for the fence above the block.
    return card.lines[min(fault.line + 1, len(card.lines) - 1)].number


def findings(context: Context, is_meant: Callable[[Fault], bool]) -> Iterator[Finding]:
    """The faults that a rule is about."""
    shown = {line.number: line.text for line in context.card.lines}
    for fault in faults(context):
        if is_meant(fault):
            line = line_of(context, fault)
            said = f"{fault.where}: {fault.message}" if len(fault.path) > 1 else _named(fault)
            evidence = shown.get(line, "").strip()[:120]
            yield Finding(line, said, evidence, fault.fix, severity=fault.severity)


def of_kind(*kinds: card_schema.Kind) -> Callable[[Context], Iterator[Finding]]:
    """The check of a rule that is about faults of these kinds."""
    return lambda context: findings(context, lambda fault: fault.kind in kinds)


def _named(fault: Fault) -> str:
    key = fault.where
    return fault.message if not key or f"'{key}'" in fault.message else f"{key}: {fault.message}"
