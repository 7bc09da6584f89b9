"""The YAML block at the head of a card: taken off, read, and written so that it reads back.

Hubs read it as YAML 1.2, Python as 1.1; what the two could read differently is
quoted (`no`, `1e3`, `12:30`), so that both read what was meant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from evalkit.errors import CardError

FENCE = "---"
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 ._/+()-]*[A-Za-z0-9)]|[A-Za-z]")
_RESERVED = frozenset("y n yes no on off true false null none nan inf infinity".split())
_WIDTH = 1_000_000  # never fold: one value, one line


class Card(NamedTuple):
    """A card taken apart: its metadata, and the text below the block exactly as it stands."""

    metadata: dict[str, Any]
    body: str


def split(text: str) -> tuple[str | None, str]:
    """The YAML text between the fences, None where there is no block, and the body below it."""
    text = text.removeprefix("\ufeff")
    lines = text.split("\n")
    if lines[0].rstrip() != FENCE:
        return None, text
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == FENCE:
            return "\n".join(lines[1:number]) + "\n", "\n".join(lines[number + 1 :])
    return None, text


def parse(text: str) -> Card:
    """The metadata (empty where there is no block) and body of a card.

    Raises:
        CardError: the block is no YAML, no mapping, or has a key twice.
    """
    block, body = split(text)
    if block is None:
        return Card({}, body)
    try:
        metadata = yaml.load(block, Loader=_Loader)
    except yaml.YAMLError as error:
        raise CardError(f"the front matter is not valid YAML: {_one_line(error)}") from error
    if metadata is None:
        return Card({}, body)
    if not isinstance(metadata, dict):
        raise CardError("the front matter is not a mapping of keys")
    return Card(metadata, body)


def lines_of(block: str) -> dict[tuple[str | int, ...], int]:
    """The line of every key and list item of a block's YAML, by its path; 0 is its first.

    Empty where it is no YAML; of a key that stands twice, the last.
    """
    found: dict[tuple[str | int, ...], int] = {}

    def walk(node: yaml.Node, path: tuple[str | int, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                place = (*path, str(key.value))
                found[place] = key.start_mark.line
                walk(value, place)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                found[(*path, number)] = value.start_mark.line
                walk(value, (*path, number))

    try:
        root = yaml.compose(block, Loader=_Loader)
    except yaml.YAMLError:
        return {}
    if root is not None:
        walk(root, ())
    return found


def dump(metadata: Mapping[str, Any]) -> str:
    """Front matter as YAML, in the order given, without fences.

    Raises:
        CardError: a value is not finite, or not plain (a numpy scalar, a date, an object).
    """
    _check(metadata, "")
    text: str = yaml.dump(
        _plain(metadata),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=_WIDTH,
    )
    return text


def join(metadata: Mapping[str, Any], body: str) -> str:
    """A card's whole text; `parse` gives back what went in, with the errors of `dump`."""
    return f"{FENCE}\n{dump(metadata)}{FENCE}\n{body}"


class _Loader(yaml.SafeLoader):
    """Reads dates as the text they are, and refuses a key that stands twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [child.value for child, _ in node.value if isinstance(child, yaml.ScalarNode)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"'{twice[0]}' stands twice", node.start_mark
            )
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


class _Dumper(yaml.SafeDumper):
    """Indents list items, repeats instead of pointing, and quotes what could be misread."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        style = None
    else:
        style = "'" if text.isascii() and text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _check(value: Any, where: str) -> None:
    """Refuses what YAML would write as something that reads back differently, or not at all."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                raise CardError(f"front matter: the key {key!r} under '{where}' is not text")
            _check(item, f"{where}.{key}" if where else key)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check(item, f"{where}.{number}")
    elif type(value) is float:
        if not math.isfinite(value):
            raise CardError(
                f"front matter: {where} is {value}", "a number that is missing must be left out"
            )
    elif type(value) is str:
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise CardError(f"front matter: {where} holds half a character (a lone surrogate)")
    elif value is not None and type(value) not in (int, bool):
        raise CardError(
            f"front matter: {where} is a {type(value).__module__}.{type(value).__qualname__}",
            "give plain text, numbers, lists and mappings (float(x) for a numpy number)",
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def wrong_types(value: Mapping[Any, Any], kind: str = "model") -> list[str]:
    """What of a card's metadata has another type than the Hub's cards give it.

    Source: hub-docs, modelcard.md and datasetcard.md.
    """
    wrong = [f"{key!r} is not a text key" for key in value if not isinstance(key, str)]
    text_keys = ["license_name", "license_link", "pipeline_tag", "library_name"]
    text_keys += ["base_model_relation", "new_version"] if kind == "model" else []
    wrong += [f"{key} must be text" for key in text_keys if not isinstance(value.get(key, ""), str)]
    for key in ("license", "language", "tags", "datasets", "metrics", "base_model"):
        item = value.get(key)
        listed = item if isinstance(item, list) else [item]
        if item is not None and not all(isinstance(entry, str) for entry in listed):
            wrong.append(f"{key} must be text or a list of texts")
    if not isinstance(value.get("model-index", []), list):
        wrong.append("model-index must be a list")
    return wrong
