"""Which licence a text means: an id written otherwise, a mention, an address, copied terms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from evalkit.licences.terms import Terms, table, terms

# Words that are said or left out without another licence being meant.
_FILLERS = frozenset(
    "the a license licence licensed licenses licences version agreement international generic "
    "unported".split()
)
_WORD = re.compile(r"v(?=\d)|[a-z]+|\d+(?:\.\d+)*|\+\+", re.IGNORECASE)
_BEGIN_LETTERS = 2
_BEGINS = re.compile(r"(?<![\w/.-])[^\W_]")
_SAYS_LICENCE = re.compile(r"licen[cs]e|terms of use|licen[cs]ed under", re.IGNORECASE)


def normalised(text: str) -> str | None:
    """The id that a text as a whole means: `Apache License, Version 2.0` means `apache-2.0`."""
    plain = text.strip().strip("\"'`*_.()[]").strip().lower()
    return plain if plain in table() else _by_key().get(_key(plain))


def leading(text: str) -> str | None:
    """The licence that a text begins with, whatever follows: `gemmaArchitecture:Transformer`.

    What follows must be no part of the same word; a capital after small letters begins a word.
    """
    mark = _surface_at(text.strip().lstrip("*_`[( "), 0)
    return normalised(mark[0]) if mark else None


def mentioned(text: str) -> tuple[str, ...]:
    """The licences that a sentence names, each once, in order.

    A name that is also an ordinary word counts only beside the word licence or its like.
    """
    found: dict[str, None] = {}
    for mark in _surfaces_in(text):
        around = text[max(0, mark.start() - 14) : mark.end() + 24]
        is_version = any(letter.isdigit() for letter in mark[0]) and not _names_model(mark[0])
        licence = normalised(mark[0])
        if licence and (is_version or _SAYS_LICENCE.search(around)):
            found[licence] = None
    return tuple(found)


def linked(address: str) -> str | None:
    """The licence whose text an address leads to."""
    plain = address.lower().replace("www.", "")
    return next((one.id for one in table().values() for part in one.links if part in plain), None)


def quoted(text: str) -> str | None:
    """The licence whose own words a text holds."""
    plain = " ".join(text.lower().split())
    for one in table().values():
        if any(" ".join(quote.lower().split()) in plain for quote in one.quotes):
            return one.id
    return None


def identified(licence: object, licence_name: object = None) -> str | None:
    """The licence that `license` and `license_name` of a card mean; None where that is not known.

    `other` alone means none.
    """
    if not isinstance(licence, str):
        return None
    meant = normalised(licence)
    if meant == "other" and isinstance(licence_name, str):
        return normalised(licence_name)
    return None if meant in ("other", "unknown") else meant


def is_same(one: str, other: str) -> bool:
    """Whether two ids may mean one licence: equal, or one the family of the other."""
    first, second = terms(one), terms(other)
    families = {first.family if first else "", second.family if second else ""} - {""}
    return one == other or one in families or other in families


def _names_model(text: str) -> bool:
    """`Llama 3` names a model before it names a licence."""
    return bool(
        re.fullmatch(r"(meta )?(llama|gemma|qwen|falcon|deepseek)[ -]?[\d.]*", text.lower())
    )


def _key(text: str) -> str:
    words = [word.lower() for word in _WORD.findall(text)]
    return "".join(word for word in words if word not in _FILLERS and word != "v")


def _written(one: Terms) -> Iterator[str]:
    yield from (one.id, one.name, *one.names)


@cache
def _by_key() -> dict[str, str]:
    found: dict[str, str] = {}
    for one in table().values():
        for way in _written(one):
            found.setdefault(_key(way), one.id)
    return found


def _surfaces_in(text: str) -> Iterator[re.Match[str]]:
    """Ways in which a licence is written, from left to right; none begins within a word."""
    end = 0
    for begin in _BEGINS.finditer(text):
        mark = _surface_at(text, begin.start()) if begin.start() >= end else None
        if mark is not None:
            end = mark.end()
            yield mark


def _surface_at(text: str, position: int) -> re.Match[str] | None:
    """The longest way in which a licence is written that begins at a position."""
    begin = text[position : position + _BEGIN_LETTERS].lower()
    return _surfaces(begin).match(text, position) if begin in _ways() else None


@cache
def _ways() -> dict[str, tuple[str, ...]]:
    """Every way in which a licence is written, by how it begins, the longest first."""
    ways = {way.lower() for one in table().values() for way in _written(one)} - {"other", "unknown"}
    ways |= {re.sub(r"[ -](?=\d)", "-v", way) for way in ways}
    ways |= {re.sub(r"license", "licence", way) for way in ways}
    found: dict[str, list[str]] = {}
    for way in sorted(ways, key=lambda way: (-len(way), way)):
        found.setdefault(way[:_BEGIN_LETTERS], []).append(way)
    return {begin: tuple(these) for begin, these in found.items()}


@cache
def _surfaces(begin: str) -> re.Pattern[str]:
    """Matches any way that begins so; one for all takes a fifth of a second to compile."""
    parts = []
    for way in _ways()[begin]:
        words = [re.escape(word) for word in re.split(r"[\s,_-]+", way) if word]
        parts.append(r"(?:,?[\s_-]*(?:licen[cs]e,?[\s_-]*)?(?:version[\s_-]*)?)".join(words))
    # A word may go on only with the capital of the next: saved pages run labels together.
    return re.compile(rf"(?i:{'|'.join(parts)})(?![a-z0-9]|[A-Z](?![a-z])|[._-]\d)")
