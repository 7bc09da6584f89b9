"""A card taken apart into lines of which each knows where it stands and what it is part of.

Pages that were saved from a website are read, too: without a block of metadata, and with the
table marks that the saving has put around every line taken off again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from evalkit import frontmatter
from evalkit.card_reading.code import FENCE, CodeBlock, closes, code_blocks_of
from evalkit.card_reading.links import Link, links_of
from evalkit.card_reading.tables import Table, plain, tables_of
from evalkit.errors import CardError

LineKind = Literal["metadata", "code", "text"]
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!\bLC\.)(?<!\b[Aa]vg\.)(?<!\bvs\.)(?<!\be\.g\.)(?<!\bi\.e\.)\s+(?=[A-Z0-9`*\[\"'])"
)
_SAVED_MARKS = re.compile(r"\s*\|\s*$")
_SAVED_SHARE = 0.9  # of the lines end in a bar where a page was saved as one table


@dataclass(frozen=True)
class Line:
    """One line. number: from 1, in the file. kind: `code` within fences, which it includes."""

    number: int
    text: str
    kind: LineKind


@dataclass(frozen=True)
class Section:
    """A heading and the lines up to the next one of its level or above."""

    line: int
    level: int
    title: str
    end: int


@dataclass(frozen=True)
class Sentence:
    """A sentence of the prose, on one line; markup is left as it was written."""

    line: int
    text: str


@dataclass(frozen=True)
class Document:
    """A card. metadata: empty where there is none, or where `metadata_error` says why."""

    text: str
    lines: tuple[Line, ...]
    metadata: Mapping[str, Any]
    has_metadata: bool
    metadata_error: CardError | None = None

    @cached_property
    def body(self) -> tuple[Line, ...]:
        """The lines below the metadata."""
        return tuple(line for line in self.lines if line.kind != "metadata")

    @cached_property
    def prose(self) -> tuple[Line, ...]:
        """The lines of the body outside code blocks."""
        return tuple(line for line in self.lines if line.kind == "text")

    @cached_property
    def code_blocks(self) -> tuple[CodeBlock, ...]:
        """Fenced code blocks in order."""
        return tuple(code_blocks_of((line.number, line.text) for line in self.body))

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Headings in order."""
        return tuple(_sections(self.prose))

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """Tables in order, those of Markdown and those of HTML."""
        return tuple(tables_of([(line.number, line.text) for line in self.prose]))

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Links and images in order; bare addresses are links, too."""
        return tuple(link for line in self.prose for link in links_of(line.number, line.text))

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        """Sentences outside headings, tables and code; an item of a list is one at least."""
        others = {row for table in self.tables for row in range(table.line, table.end + 1)}
        others |= {section.line for section in self.sections}
        return tuple(
            Sentence(line.number, part)
            for line in self.prose
            if line.number not in others and line.text.strip()
            for part in _SENTENCE_END.split(line.text.strip())
        )

    @cached_property
    def title(self) -> str:
        """The first heading, else the first line of the body; empty for an empty card."""
        if self.sections:
            return self.sections[0].title
        return next((line.text.strip() for line in self.prose if line.text.strip()), "")

    def key_line(self, *path: str | int) -> int:
        """The line on which the metadata has this key (or number of a list), else its parent's."""
        return self._key_lines.get(tuple(path)) or (self.key_line(*path[:-1]) if path else 1)

    def section_of(self, line: int) -> Section | None:
        """The innermost section in which a line stands."""
        found = [one for one in self.sections if one.line <= line <= one.end]
        return max(found, key=lambda one: one.line) if found else None

    @cached_property
    def _key_lines(self) -> dict[tuple[str | int, ...], int]:
        block = frontmatter.split(self.text)[0]
        places = {} if block is None else frontmatter.lines_of(block)
        return {path: self.lines[below + 1].number for path, below in places.items()}


def read(text: str) -> Document:
    """Takes a card apart; never fails."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    numbered = _unsaved(list(enumerate(text.removeprefix("\ufeff").split("\n"), start=1)))
    text = "\n".join(line for _, line in numbered) if _is_saved(text) else text
    block = frontmatter.split(text)[0]
    fence = block.count("\n") + 2 if block is not None else 0
    metadata, error = _metadata(text)
    lines = [Line(n, t, "metadata") for n, t in numbered[:fence]]
    lines += _body(numbered[fence:])
    return Document(text, tuple(lines), metadata, block is not None, error)


def _metadata(text: str) -> tuple[dict[str, Any], CardError | None]:
    try:
        return frontmatter.parse(text).metadata, None
    except CardError as error:
        return {}, error


def _body(numbered: list[tuple[int, str]]) -> Iterator[Line]:
    fence = ""  # what opened the code block that a line stands in
    for number, text in numbered:
        mark = FENCE.match(text)
        is_code = bool(fence or mark)
        if mark and not fence:
            fence = mark[1]
        elif fence and closes(text, fence):
            fence = ""
        yield Line(number, text, "code" if is_code else "text")


def _sections(lines: tuple[Line, ...]) -> Iterator[Section]:
    found = [(line.number, mark) for line in lines if (mark := _HEADING.match(line.text))]
    last = lines[-1].number if lines else 0
    for index, (number, mark) in enumerate(found):
        level = len(mark[1])
        later = (at - 1 for at, other in found[index + 1 :] if len(other[1]) <= level)
        yield Section(number, level, plain(mark[2]), next(later, last))


def _is_saved(text: str) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    return (
        len(lines) > 2
        and sum(line.rstrip().endswith("|") for line in lines) >= (_SAVED_SHARE * len(lines))
        and sum(line.strip() == "|" for line in lines) >= len(lines) / 3
    )


def _unsaved(numbered: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Without the lines and the ends of lines that are nothing but marks of a saved page."""
    if not _is_saved("\n".join(text for _, text in numbered)):
        return numbered
    return [
        (number, _SAVED_MARKS.sub("", text)) for number, text in numbered if text.strip() != "|"
    ]
