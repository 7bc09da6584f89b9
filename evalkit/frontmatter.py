"""The YAML block at the head of a card: taken off, read, and written so that it reads back.

Hubs read it as YAML 1.2, Python as 1.1; what the two could read differently is
quoted (`no`, `1e3`, `12:30`), so that both read what was meant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import yaml

from evalkit.errors import CardError

FENCE = "---"
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 ._/+()-]*[A-Za-z0-9)]|[A-Za-z]")
_RESERVED = frozenset("y n yes no on off true false null none nan inf infinity".split())
_WIDTH = 1_000_000  # never fold: one value, one line
_MOST_NODES = 200_000  # of a front matter with its aliases written out
KeyPath = tuple[str | int, ...]


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
    return Card({} if block is None else constructed(block), body)


def constructed(block: str) -> dict[str, Any]:
    """The metadata that a block's YAML means, with the errors of `parse`."""
    metadata = loaded(block)
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise CardError("the front matter is not a mapping of keys")
    return metadata


def loaded(block: str) -> Any:
    """What YAML means: a mapping, a list, a value.

    Raises:
        CardError: it is no YAML that is safe to load, or has a key twice.
    """
    made = composed(block)
    if made.twice:
        raise CardError(f"the front matter is not valid YAML: '{made.twice[0][-1]}' stands twice")
    if made.root is None:
        return None
    with _told():
        return _Loader("").construct_document(made.root)


class Composed(NamedTuple):
    """YAML before it is given types. twice: the path of every key that stands for a second time."""

    root: yaml.Node | None
    twice: tuple[KeyPath, ...]


@lru_cache(maxsize=32)
def composed(block: str) -> Composed:
    """The nodes of a block's YAML; they are not to be changed.

    Raises:
        CardError: it is no YAML, holds itself, or would be endless with its aliases written out.
    """
    with _told():
        root = yaml.compose(block, Loader=_Loader)
        twice: list[KeyPath] = []
        if root is not None:
            _measure(root, (), {}, twice)
        return Composed(root, tuple(twice))


def _measure(node: yaml.Node, path: KeyPath, sizes: dict[int, int], twice: list[KeyPath]) -> int:
    """How many nodes it is with aliases written out; collects keys that stand twice."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise yaml.composer.ComposerError(
                None, None, "an alias stands within what it names", node.start_mark
            )
        return sizes[id(node)]
    sizes[id(node)] = 0  # until it is known: whoever meets it before then is within it
    total = 1
    names: set[str] = set()
    for number, child in enumerate(node.value if isinstance(node, yaml.CollectionNode) else ()):
        key, value = child if isinstance(node, yaml.MappingNode) else (None, child)
        place = (*path, number if key is None else str(key.value))
        if isinstance(key, yaml.ScalarNode):
            if key.value in names:
                twice.append(place)
            names.add(key.value)
        total += _measure(value, place, sizes, twice)
    if total > _MOST_NODES:
        raise yaml.composer.ComposerError(
            None, None, "its aliases make it endless", node.start_mark
        )
    sizes[id(node)] = total
    return total


@contextmanager
def _told() -> Iterator[None]:
    """Says of whatever keeps YAML from being read that the front matter is wrong."""
    try:
        yield
    except yaml.YAMLError as error:
        raise CardError(f"the front matter is not valid YAML: {_one_line(error)}") from error
    except RecursionError as error:
        raise CardError("the front matter is nested too deep to be read") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # PyYAML on values that are not what their tag says: `!!int`, `!!bool x`, `!!timestamp x`.
        raise CardError(f"the front matter cannot be read: {_one_line(error)}") from error


def lines_of(block: str) -> dict[KeyPath, int]:
    """The line of every key and list item of a block's YAML, by its path; 0 is its first.

    Empty where it is no YAML; of a key that stands twice, the last. What an alias stands for has
    the lines of the place that names it.
    """
    found: dict[KeyPath, int] = {}
    seen: set[int] = set()

    def walk(node: yaml.Node, path: KeyPath) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
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
        root = composed(block).root
    except CardError:
        return {}
    if root is not None:
        walk(root, ())
    return found


def dump(metadata: Mapping[str, Any] | Sequence[Any]) -> str:
    """Front matter, or a list of entries, as YAML in the order given, without fences.

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
    """Reads dates as the text they are."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


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
