"""Unquoted values that YAML reads as something else than text."""

from __future__ import annotations

import re

from evalkit.lint.context import Context
from evalkit.lint.lines import line_text, with_lines
from evalkit.lint.rule import Rule
from evalkit.lint.schema_faults import faults, line_of, of_kind

_VALUE = re.compile(
    r"(?P<before>\s*(?:- +)*(?:[\w-]+: +)?)(?P<value>[\w.:+-]+)(?P<after>\s*(?:#.*)?)"
)


def mend(context: Context) -> str:
    """Puts values in quotes that stand alone on their line, or behind their key."""
    changed: dict[int, str] = {}
    for fault in faults(context):
        if fault.kind == "trap":
            number = line_of(context, fault)
            mark = _VALUE.fullmatch(line_text(context.card, number))
            if mark:
                changed[number] = f"{mark['before']}'{mark['value']}'{mark['after']}"
    return with_lines(context.card, changed)


RULE = Rule(
    code="EK103",
    name="yaml-trap",
    summary="A value without quotes is read as something else than the text it shows.",
    why="`language: no` is Norwegian to a person, false to Python, and text to the Hub.",
    check=of_kind("trap"),
    severity="warning",
    mend=mend,
)
