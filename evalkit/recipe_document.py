"""A recipe before it is checked: plain data, and what said each key (a line of a file, a flag)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import yaml

from evalkit.errors import RecipeError

KeyPath = tuple[str | int, ...]
# A list in which `{}` changes nothing: an entry beyond its end can be set all the same.
_PADDED = "per_iteration"
# Source: YAML 1.2.2, sections 7.3.1 and 7.3.2; a quote is doubled, or escaped.
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


@dataclass
class Document:
    """Data of the shape of a recipe, right or wrong.

    origins: `file:line` or the flag that said a key; that of `()` is what the whole came from.
    """

    data: dict[str, Any]
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def where(self, key: KeyPath) -> str:
        """What said a key, or the nearest key above it that something said."""
        while key and key not in self.origins:
            key = key[:-1]
        return self.origins.get(key, "the recipe")

    def put(self, key: KeyPath, value: Any, said: str) -> None:
        """Sets a key, made where it lacks with the sections above it; `said` is the flag for it.

        Raises:
            RecipeError: there is no such place.
        """
        try:
            _put(self.data, key, value)
        except (IndexError, TypeError, KeyError):
            name = ".".join(str(part) for part in key)
            raise RecipeError(
                f"{said}: the recipe has no {name}", "list items are numbered from 0"
            ) from None
        below = [other for other in self.origins if other[: len(key)] == key]
        for other in below:
            del self.origins[other]
        self.origins[key] = said


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Applies `key=value` texts of `--set` (`stages.0.training.schedule_epochs=1`) to a document.

    Raises:
        RecipeError: one is not of that form, or names a place that is not there.
    """
    for override in overrides:
        said = f"--set {override}"
        name, equals, text = override.partition("=")
        if not equals or not name:
            hint = "such as --set stages.0.training.schedule_epochs=1"
            raise RecipeError(f"{said}: not of the form key=value", hint)
        document.put(key_path(name), flag_value(text, said), said)


def key_path(name: str) -> KeyPath:
    """`variants.0.name` as a path of keys."""
    return tuple(int(part) if part.isdecimal() else part for part in name.split("."))


def flag_value(text: str, said: str) -> Any:
    """The YAML value of a flag's text; `said` is the flag, for the error.

    Raises:
        RecipeError: it is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(
            f"{said}: not a YAML value: {getattr(error, 'problem', error)}",
            "quote it for the shell, and within that for YAML: 'card.summary=\"a: b\"'",
        ) from None


def plugin_data(text: str, said: str) -> str | dict[str, Any]:
    """A plug-in as a flag gives it: its name, and options after a colon.

    `rule` and `lm_eval_tasks:tasks=[gsm8k],limit=50` are such texts; values are YAML.

    Raises:
        RecipeError: what follows the colon is not `option=value` parted by commas, or a
            quote stays open.
    """
    name, colon, options = text.partition(":")
    name = name if name.endswith(".py") else name.replace("-", "_")
    if not colon:
        return name
    found = Document({"name": name})
    for part in _parts(options, said):
        option, equals, value = part.partition("=")
        if not equals or not option.strip():
            raise RecipeError(
                f"{said}: '{part}' is not of the form option=value",
                "write NAME:option=value,option=[a,b]",
            )
        found.put(key_path(option.strip()), flag_value(value, said), said)
    return found.data


def plugin_text(data: str | Mapping[str, Any]) -> str:
    """What a flag would say for a plug-in: `plugin_data` reads it back."""
    if isinstance(data, str):
        return data
    options = [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in data.items()
        if key != "name"
    ]
    return f"{data['name']}:{','.join(options)}" if options else str(data["name"])


def _parts(text: str, said: str) -> Iterator[str]:
    """Parts between commas that stand in no bracket or quotation."""
    depth, part, at = 0, "", 0
    while at < len(text):
        taken = text[at]
        if taken in "'\"" and _begins_value(part, depth):
            quoted = _QUOTED.match(text, at)
            if quoted is None:
                raise RecipeError(
                    f"{said}: the quote before {text[at + 1 :]} is not closed",
                    "close it, or put a text that holds it in quotes of the other kind",
                )
            taken = quoted[0]
        depth += (taken in "[{") - (taken in "]}")
        at += len(taken)
        if taken == "," and depth == 0:
            yield part
            part = ""
        else:
            part += taken
    yield part


def _begins_value(before: str, depth: int) -> bool:
    """Whether a quote behind this opens a text; within a word it is an apostrophe."""
    before = before.rstrip()
    return before[-1:] in "[{,:" if depth else before.find("=") == len(before) - 1 >= 0


def _put(data: Any, key: KeyPath, value: Any) -> None:
    target = data
    for part, following in pairwise(key):
        listed = following == 0 or (part == _PADDED and isinstance(following, int))
        target = _section(target, part, [] if listed else {})
        if part == _PADDED and isinstance(target, list) and isinstance(following, int):
            target += [{} for _ in range(following + 1 - len(target))]
    last = key[-1]
    if isinstance(target, list) and last == len(target):
        target.append(value)
    elif isinstance(target, Mapping):
        target[str(last)] = value  # type: ignore[index]
    else:
        target[last] = value


def _section(target: Any, key: str | int, empty: Any) -> Any:
    """What lies under a key, made where it lacks; a plug-in's bare name is about to get options."""
    if isinstance(target, dict):
        key = str(key)
        target.setdefault(key, empty)
    elif target == [] and key == 0:
        target.append(empty)
    value = target[key]
    if value is None or isinstance(value, str):
        value = target[key] = empty if value is None else {"name": value}
    return value
