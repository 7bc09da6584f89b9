"""Checks a card's metadata: as YAML text, with what only text shows, or as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import yaml

from evalkit import frontmatter
from evalkit.card_schema.fault import Fault
from evalkit.card_schema.ids import base_faults
from evalkit.card_schema.keys import key_faults, schema_of
from evalkit.card_schema.licence import licence_faults
from evalkit.card_schema.results import result_faults
from evalkit.card_schema.schema import faults, written
from evalkit.card_schema.traps import trap_faults
from evalkit.errors import CardError


def validate(metadata: Mapping[Any, Any], kind: str = "model") -> tuple[Fault, ...]:
    """Faults of metadata as values.

    kind: of the repository, `model` or `dataset`; of any other only what no card may hold is told.
    """
    if kind not in ("model", "dataset"):
        return tuple(faults(metadata, {"type": "object"}))
    found = [*faults(metadata, schema_of(kind)), *key_faults(metadata, kind)]
    found += licence_faults(metadata)
    if kind == "model":
        found += [*base_faults(metadata), *result_faults(metadata)]
    return tuple(found)


@lru_cache(maxsize=64)
def check(block: str, kind: str = "model") -> tuple[Fault, ...]:
    """Faults of the YAML between the fences of a card."""
    try:
        composed = frontmatter.composed(block)
    except CardError as error:
        return (Fault((), "syntax", error.message, error.hint, line=_line(error)),)
    found = [
        Fault(path, "duplicate", f"the key '{path[-1]}' stands twice", "take one out")
        for path in composed.twice
    ]
    traps = list(trap_faults(composed.root))
    unreadable = [fault for fault in traps if fault.kind == "type"]
    if found or unreadable:
        return (*found, *unreadable)
    try:
        metadata = frontmatter.constructed(block)
    except CardError as error:
        return (Fault((), "syntax", error.message, error.hint, line=_line(error)),)
    return _without_echoes(traps, validate(metadata, kind))


def check_eval_results(text: str) -> tuple[Fault, ...]:
    """Faults of a file of `.eval_results/`, of which the lines are those of the text."""
    try:
        composed = frontmatter.composed(text)
        value = frontmatter.loaded(text)
    except CardError as error:
        return (Fault((), "syntax", error.message, error.hint, line=_line(error)),)
    # Here a date must be text, which Python's readers make of it only in quotes.
    traps = [
        replace(trap, severity="error") if trap.path[-1:] == ("date",) else trap
        for trap in trap_faults(composed.root)
    ]
    return _without_echoes(traps, tuple(faults(value, written()["eval_results"])))


def _without_echoes(traps: list[Fault], found: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """What a trap has made of a value is told once, by the trap, and as gravely."""
    grave = {fault.path for fault in found if fault.kind in ("type", "value")}
    caught = {fault.path for fault in traps}
    told = [replace(trap, severity="error") if trap.path in grave else trap for trap in traps]
    kept = [f for f in found if f.path not in caught or f.kind not in ("type", "value")]
    return (*told, *kept)


def _line(error: CardError) -> int | None:
    mark = getattr(error.__cause__, "problem_mark", None)
    return mark.line if isinstance(mark, yaml.Mark) else None
