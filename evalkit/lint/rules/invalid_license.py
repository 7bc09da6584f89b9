"""Licence ids that the Hub does not know."""

from __future__ import annotations

import re

from evalkit import licences
from evalkit.lint.context import Context
from evalkit.lint.lines import line_text, with_lines
from evalkit.lint.rule import Rule
from evalkit.lint.schema_faults import faults, line_of, of_kind

_LICENSE = re.compile(
    r"(?P<before>license\s*:\s*|\s*-\s+)(?P<quote>['\"]?)(?P<value>[^'\"#]+?)(?P=quote)(?P<after>\s*(?:#.*)?)"
)


def mend(context: Context) -> str:
    """Writes the id that is meant: `Apache-2.0` becomes `apache-2.0`."""
    changed: dict[int, str] = {}
    for fault in faults(context):
        if fault.kind == "license" and fault.severity == "error":
            number = line_of(context, fault)
            mark = _LICENSE.fullmatch(line_text(context.card, number))
            meant = licences.normalised(mark["value"]) if mark else None
            if mark and meant in licences.ids():
                changed[number] = f"{mark['before']}{meant}{mark['after']}"
    return with_lines(context.card, changed)


RULE = Rule(
    code="EK109",
    name="invalid-license",
    summary="The licence is no id that the Hub knows, or is 'other' and stays unnamed.",
    why="The Hub refuses an unknown id; readers cannot tell what an unnamed licence permits.",
    check=of_kind("license"),
    mend=mend,
)
