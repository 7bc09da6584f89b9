"""Checks plain values against a schema: the part of JSON Schema that the written one uses.

Source: JSON Schema 2020-12: type, properties, required, items, minItems, enum, pattern; `$ref`
names an entry of `$defs`, and `closed` is additionalProperties: false told as a misspelling.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from evalkit import resources
from evalkit.card_schema.fault import Fault, KeyPath, Severity
from evalkit.errors import did_you_mean

Schema = Mapping[str, Any]
_NAMES = {"string": "text", "array": "a list", "object": "a mapping", "number": "a number",
          "boolean": "true or false", "null": "empty"}  # fmt: skip
_DEEPEST = 60
_ANYTHING: Schema = {}


@cache
def written() -> dict[str, Any]:
    """The schema of cards, as data."""
    data: dict[str, Any] = resources.template_data("card_schema.yaml")
    return data


def faults(value: Any, schema: Schema, path: KeyPath = ()) -> Iterator[Fault]:
    """Everything in a value that the schema forbids; a value within itself is looked at once."""
    yield from _Check().faults(value, schema, path)


class _Check:
    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()  # aliases of YAML share, and may close a circle

    def faults(self, value: Any, schema: Schema, path: KeyPath) -> Iterator[Fault]:
        if "$ref" in schema:
            schema = written()["$defs"][schema["$ref"]]
        visit = (id(value), id(schema))
        if isinstance(value, Mapping | list | tuple):
            if visit in self._seen or len(path) > _DEEPEST:
                return
            self._seen.add(visit)
        wrong = _wrong_type(value, schema)
        if wrong:
            # Keys that were left empty are as good as left out.
            severity: Severity = "warning" if value is None else "error"
            yield Fault(path, "type", wrong, schema.get("fix", ""), severity)
        elif isinstance(value, Mapping):
            yield from self._mapping(value, schema, path)
        elif isinstance(value, list | tuple):
            yield from self._sequence(value, schema, path)
        elif isinstance(value, str):
            yield from _text(value, schema, path)

    def _mapping(self, value: Mapping[Any, Any], schema: Schema, path: KeyPath) -> Iterator[Fault]:
        known: Mapping[str, Schema] = schema.get("properties", {})
        for key in schema.get("required", ()):
            if key not in value:
                yield Fault(path, "results", f"'{key}' is missing")
        for key, item in value.items():
            name = key if type(key) is str else shown(key)
            if name != key:
                yield Fault(
                    (*path, name), "type", f"the key {name} is not text", "put it in quotes"
                )
            elif key in known:
                yield from self.faults(item, known[key], (*path, name))
            elif schema.get("closed"):
                hint = did_you_mean(name, known)
                yield Fault(
                    (*path, name), "unknown", f"'{name}' means nothing here", hint, "warning"
                )
            else:
                yield from self.faults(item, _ANYTHING, (*path, name))

    def _sequence(self, value: Any, schema: Schema, path: KeyPath) -> Iterator[Fault]:
        if len(value) < schema.get("minItems", 0):
            yield Fault(path, "results", "the list is empty")
        for number, item in enumerate(value):
            yield from self.faults(item, schema.get("items", _ANYTHING), (*path, number))


def shown(value: Any) -> str:
    """A value in an error message, short and on one line, whatever it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**30:
        return "a number of very many digits"
    if isinstance(value, Mapping | list | tuple | set):
        return {dict: "a mapping", list: "a list"}.get(type(value), f"a {type(value).__name__}")
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _wrong_type(value: Any, schema: Schema) -> str:
    odd = _odd(value)
    if odd:
        return odd
    stated = schema.get("type", ())
    allowed = (stated,) if isinstance(stated, str) else tuple(stated)
    if not allowed or _type_of(value) in allowed:
        return ""
    meant = " or ".join(_NAMES[name] for name in allowed)
    found = "empty" if value is None else shown(value)
    return f"it is {found}, not {meant}"


def _odd(value: Any) -> str:
    """What no card may hold anywhere: a number without a value, a Python object."""
    if type(value) is float and not math.isfinite(value):
        return f"it is {value}, no number; what is missing is left out"
    if _type_of(value):
        return ""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return f"it is a {kind} of Python, no plain value; write float(x) or str(x) of it"


def _type_of(value: Any) -> str:
    if value is None or type(value) is bool:
        return "null" if value is None else "boolean"
    if type(value) in (int, float):
        return "number"
    if type(value) is str:
        return "string"
    if isinstance(value, Mapping):
        return "object"
    return "array" if isinstance(value, list | tuple) else ""


def _text(value: str, schema: Schema, path: KeyPath) -> Iterator[Fault]:
    if "enum" in schema and value not in schema["enum"]:
        hint = did_you_mean(value, schema["enum"])
        yield _wrong_value(path, f"there is no {shown(value)}", schema, hint)
    if "pattern" in schema and not re.match(schema["pattern"], value):
        yield _wrong_value(path, f"it is {shown(value)}", schema)


def _wrong_value(path: KeyPath, message: str, schema: Schema, hint: str = "") -> Fault:
    fix = "; ".join(part for part in (schema.get("fix", ""), hint) if part)
    return Fault(path, "value", message, fix, schema.get("severity", "error"))
