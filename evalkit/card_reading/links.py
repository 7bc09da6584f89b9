"""The links of a line, as CommonMark and HTML write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Bounded, so that a line of brackets is not searched to its end from each of them.
_MARKDOWN = re.compile(
    r"(!?)\[((?:[^\[\]]|\[[^\[\]]{0,1000}\]){0,2000})\]"
    r"\(\s{0,9}<?([^()\s>]{0,4000}(?:\([^()\s>]{0,1000}\)[^()\s>]{0,1000})?)>?(?:\s{1,9}[\"'(][^)]{0,1000})?\s{0,9}\)"
)
_HTML = re.compile(r"<(a|img)\b[^<>]*?\b(?:href|src)\s*=\s*[\"']([^\"']*)[\"'][^<>]*>", re.I)
_BARE = re.compile(r"https?://[^\s<>()\[\]\"'`|]+[^\s<>()\[\]\"'`|.,;:!?*]")


@dataclass(frozen=True)
class Link:
    """Where a link leads. text: what is shown, empty for bare addresses."""

    line: int
    text: str
    target: str
    is_image: bool = False


def links_of(line: int, text: str) -> Iterator[Link]:
    """Links of one line of prose, in no particular order."""
    for mark in _MARKDOWN.finditer(text) if "](" in text else ():
        yield Link(line, mark[2], mark[3], bool(mark[1]))
        # A picture may be the text of a link.
        yield from links_of(line, mark[2]) if "](" in mark[2] else ()
    for mark in _HTML.finditer(text):
        yield Link(line, "", mark[2], mark[1].lower() == "img")
    rest = _HTML.sub(" ", _MARKDOWN.sub(" ", text))
    for mark in _BARE.finditer(rest):
        yield Link(line, "", mark[0])
