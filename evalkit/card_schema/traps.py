"""YAML that reads as something else than was meant, or elsewhere as something else than here.

The Hub reads YAML 1.2, Python's libraries 1.1: `no` is text to the one and false to the other.
Source: YAML 1.1 type repository (bool, int, float, timestamp); YAML 1.2.2, section 10.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from evalkit.card_schema.fault import Fault, KeyPath

_BOOL = re.compile(r"(?i:yes|no|on|off)")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?(?:[Tt ].*)?")
_CLOCK = re.compile(r"[-+]?\d+(?::[0-5]?\d)+(?:\.\d*)?")
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_FIX = "put it in quotes"


def trap_faults(root: yaml.Node | None) -> Iterator[Fault]:
    """Traps of a document as it was composed, and what only Python could load."""
    if root is not None:
        yield from _walk(root, (), set())


def _walk(node: yaml.Node, path: KeyPath, seen: set[int]) -> Iterator[Fault]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if node.tag.startswith("tag:yaml.org,2002:python/") or node.tag.startswith("!"):
        kind = node.tag.rpartition("/")[2].lstrip("!")
        message = f"it is written as an object of Python ({kind}), which no safe reader loads"
        yield Fault(path, "type", message, "write a plain number or text: float(x) or str(x)")
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, str(key.value))
            if isinstance(key, yaml.ScalarNode):
                yield from _scalar(key, place)
            yield from _walk(value, place, seen)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _walk(value, (*path, number), seen)
    elif isinstance(node, yaml.ScalarNode):
        yield from _scalar(node, path)


def _scalar(node: yaml.ScalarNode, path: KeyPath) -> Iterator[Fault]:
    text = str(node.value)
    if node.style is not None:  # quoted, or a block
        return
    if _BOOL.fullmatch(text):
        meant = "true" if text.lower() in ("yes", "on") else "false"
        yield Fault(path, "trap", f"Python reads {text} as {meant}, not as text", _FIX, "warning")
    elif _DATE.fullmatch(text):
        yield Fault(path, "trap", f"Python reads {text} as a date, not as text", _FIX, "warning")
    elif _CLOCK.fullmatch(text):
        message = f"Python reads {text} as a number to the base 60"
        yield Fault(path, "trap", message, _FIX, "warning")
    elif _OCTAL.fullmatch(text):
        message = f"Python reads {text} as a number to the base 8"
        yield Fault(path, "trap", message, _FIX, "warning")
