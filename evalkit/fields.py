"""The fields of a pydantic model in words: for error messages and for the recipe reference.

A field is described by `Field(description=...)`, or in its class's docstring by a sentence that
begins with its name and a colon: `seed: of the weights.`
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PLAIN = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    Path: "path",
    Any: "any value",
    dict: "mapping",
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


class KeysOf(NamedTuple):
    """Says of an annotated mapping which model knows its keys."""

    model: type[BaseModel]


class FieldText(NamedTuple):
    """One field for people. default: as YAML writes it, None where a value must be given."""

    name: str
    type: str
    default: str | None
    description: str


def describe(model: type[BaseModel]) -> list[FieldText]:
    """The fields of a model in the order of its class."""
    return [field_text(model, name) for name in model.model_fields]


def field_text(model: type[BaseModel], name: str) -> FieldText:
    """One field of a model."""
    field = model.model_fields[name]
    default = None if field.is_required() else in_yaml(field.get_default(call_default_factory=True))
    shown = field.alias or name
    description = field.description or documented(model).get(shown, "")
    return FieldText(shown, type_words(field.annotation, field.metadata), default, description)


def documented(model: type[BaseModel]) -> dict[str, str]:
    """What the docstring of a model's class says of each field."""
    inherited: dict[str, str] = {}
    for parent in reversed(model.__mro__[1:]):
        if issubclass(parent, BaseModel) and parent is not BaseModel:
            inherited |= documented(parent)
    return inherited | _documented_here(model)


def _documented_here(model: type[BaseModel]) -> dict[str, str]:
    text = " ".join((model.__doc__ or "").split())
    known = [field.alias or name for name, field in model.model_fields.items()]
    names = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
    if not names:
        return {}
    # `a, b: what both are.` at the beginning, or behind the end of a sentence.
    pattern = re.compile(rf"(?:^|(?<=[.;:] ))((?:{names})(?:, (?:{names}))*): ")
    found = list(pattern.finditer(text))
    if not found:
        return {}
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        name: text[match.end() : end].strip().rstrip(".;")
        for match, end in zip(found, ends, strict=True)
        for name in match[1].split(", ")
    }


def type_words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A type in words, with its bounds: `whole number, at least 1`."""
    if typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        return type_words(inner, [*metadata, *_flat(more)])
    bounds = [
        f"{word} {getattr(one, bound)}"
        for one in metadata
        for bound, word in _BOUNDS.items()
        if getattr(one, bound, None) is not None
    ]
    words = _words(annotation)
    return f"{words}, {' and '.join(bounds)}" if bounds else words


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model among the types of an annotation, None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, KeysOf):
        return annotation.model
    found = (model_of(argument) for argument in typing.get_args(annotation))
    return next((one for one in found if one is not None), None)


def in_yaml(value: Any) -> str:
    """A value as one would write it in a recipe."""
    if isinstance(value, BaseModel):
        given = value.model_dump(mode="json", exclude_defaults=True)
        return given["name"] if list(given) == ["name"] else in_yaml(given)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {in_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_yaml, value)) + "]"
    return str(value) or "''"


def _flat(metadata: Sequence[Any]) -> list[Any]:
    return [
        item for one in metadata for item in (one.metadata if isinstance(one, FieldInfo) else [one])
    ]


def _words(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        kinds = [type_words(one) for one in arguments if one is not type(None)]
        if {"whole number", "number"} <= set(kinds):
            kinds.remove("whole number")
        return " or ".join(kinds)
    if origin is Literal:
        return _either([f"`{one}`" for one in arguments])
    if origin in (tuple, list):
        words = type_words(arguments[0])
        counted = words in ("section", "plug-in", "text", "mapping")
        return f"list of {words}{'s' if counted else ''}"
    if origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "plug-in" if annotation.__name__ == "PluginRef" else "section"
    return _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
