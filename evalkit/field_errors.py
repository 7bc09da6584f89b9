"""What pydantic finds wrong in a recipe, an option or a definition, said for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from evalkit.errors import did_you_mean
from evalkit.fields import field_text, in_yaml, model_of
from evalkit.recipe_document import KeyPath

_WRONG = {
    "int": "not a whole number",
    "float": "not a number",
    "bool": "neither true nor false",
    "string": "not a text",
    "tuple": "not a list",
    "list": "not a list",
    "dict": "not a mapping of keys",
    "model": "not a mapping of keys",
}
_BEYOND = {
    "greater_than_equal": "too small",
    "greater_than": "too small",
    "less_than_equal": "too large",
    "less_than": "too large",
    "too_short": "too few of them",
    "literal_error": "not one of the choices",
    "finite_number": "not a finite number",
}
# What pydantic adds to a place within a union: the member that it tried.
_MEMBER = re.compile(r"(int|float|str|bool|(dict|list|tuple|constrained|function|literal)\W.*)$")
_SECRET = re.compile(
    r"(?<=//)[^/@\s]+(?=@)|(?<=\?)\S+"
)  # in an address: who logs in, and what is asked
_SHOWN_CHARACTERS = 40


class WrongValueError(ValueError):
    """What a validator raises where its message may hold a colon itself."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}: {hint}")
        self.message = message
        self.hint = hint


class FieldError(NamedTuple):
    """One wrong value: the key it stands under, what is wrong with it, and what to write."""

    key: KeyPath
    message: str
    hint: str


def field_errors(model: type[BaseModel], error: ValidationError, what: str) -> list[FieldError]:
    """Everything wrong, once per key. what: a key is called so (`key`, `option`)."""
    found: dict[KeyPath, FieldError] = {}
    for item in error.errors(include_url=False):
        key = tuple(item["loc"])
        while key and isinstance(key[-1], str) and _MEMBER.match(key[-1]):
            key = key[:-1]
        found.setdefault(key, _told(model, key, dict(item), what))
    return list(found.values())


def _told(model: type[BaseModel], key: KeyPath, item: Mapping[str, Any], what: str) -> FieldError:
    kind, value = str(item["type"]), item.get("input")
    if kind == "extra_forbidden":
        known = list(owner.model_fields) if (owner := _model_at(model, key[:-1])) else []
        return FieldError(key, f"there is no such {what}", did_you_mean(str(key[-1]), known))
    if kind == "missing":
        return FieldError(key, f"this {what} is missing", _example(model, key))
    if kind in ("value_error", "assertion_error"):
        message, hint = _said(item["ctx"]["error"])
        return FieldError(key, message + _got(value), hint or _expected(model, key))
    if kind == "invalid_key":
        return FieldError(key, f"a {what} must be a text", "put it in quotes, or remove it")
    wrong = _BEYOND.get(kind) or _WRONG.get(kind.split("_")[0], str(item["msg"]).lower())
    hint = _expected(model, key)
    if kind == "string_type" and isinstance(value, bool | int | float):
        hint = f"put it in quotes: '{'no' if value is False else in_yaml(value)}'"
    if kind == "literal_error" and isinstance(value, str):
        hint = did_you_mean(value, re.findall(r"'([^']*)'", item["ctx"]["expected"]))
    return FieldError(key, wrong + _got(value), hint)


def _said(error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do: in an error of our own behind the first colon."""
    if isinstance(error, WrongValueError):
        return error.message, error.hint
    message, _, hint = str(error).partition(": ")
    return message, hint


def _got(value: Any) -> str:
    """The value behind a message, where it is short enough to be read there."""
    if isinstance(value, Mapping) or (isinstance(value, list) and len(repr(value)) > 40):
        return ""
    text = repr(_SECRET.sub("...", value)) if isinstance(value, str) else in_yaml(value)
    short = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
    return f" (got {short})"


def _expected(model: type[BaseModel], key: KeyPath) -> str:
    """What may stand under a key: `give a whole number, at least 1 (default 1)`."""
    owner = _model_at(model, key[:-1])
    if owner is None or not key or key[-1] not in owner.model_fields:
        return "docs/recipe.md shows what may stand there"
    text = field_text(owner, str(key[-1]))
    inner = _model_at(model, key)
    if inner is not None and text.type == "section":
        return f"keys it may have: {', '.join(inner.model_fields)}"
    default = "" if text.default in (None, "null", "''") else f"; the default is {text.default}"
    return f"give a {text.type}{default}".replace("`", "'").replace("give a true", "give true")


def _example(model: type[BaseModel], key: KeyPath) -> str:
    name, inner = key[-1], _model_at(model, key)
    if inner is None:
        return f"add '{name}: ...'"
    needed = [n for n, field in inner.model_fields.items() if field.is_required()]
    return f"add '{name}: {{{', '.join(f'{n}: ...' for n in needed)}}}'"


def _model_at(model: type[BaseModel] | None, key: KeyPath) -> type[BaseModel] | None:
    """The model that validates what stands under a key; None where that is a plain value."""
    for part in key:
        if isinstance(part, int) or model is None:
            continue
        field = model.model_fields.get(part)
        model = model_of(field.annotation) if field else None
    return model
