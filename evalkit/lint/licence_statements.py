"""Where a card says what its model is licensed as: metadata, labels, a section, sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from evalkit import licences
from evalkit.card_reading import Document, Section
from evalkit.card_reading.tables import plain

How = Literal["metadata", "label", "section", "sentence"]

_LABEL = re.compile(
    r"^\W*(?:model\s+)?licen[cs]e(?:s|\(s\))?(?:\s*\([^)]*\))?[*_`\s]*[:=|]\s*(?P<value>.+)$", re.I
)
# Saved pages run labels together: `Published:Feb 22, 2024License:apache-2.0Architecture:...`.
_RUN_IN = re.compile(r"(?<=[a-z0-9])License:(?P<value>\S.*)$")
_HEADING = re.compile(
    r"^\W*(?:model\s+)?licen[cs](?:e|es|ing)(?:\s+information)?\W*$", re.IGNORECASE
)
_SENTENCE = re.compile(
    r"\b(?:this|the|our)\s+(?:\S+\s+)?(?:model(?!\s+card)|checkpoint|adapter|weights)\b[^.]{0,60}?"
    r"\b(?:licen[cs]ed|released|distributed|available)\s+under\s+(?P<value>.+)$",
    re.IGNORECASE,
)
# Beside the model's own licence, those of other things are told.
_OF_OTHERS = re.compile(
    r"\b(?:code|data\s?sets?|data|base|original|upstream|repository|paper)\b", re.I
)
_FEW_WORDS = 6  # a paragraph that is nothing but the licence's name


@dataclass(frozen=True)
class Statement:
    """What one place says. licences: of which it is one; more where it names several."""

    line: int
    licences: tuple[str, ...]
    text: str
    how: How

    def agrees(self, other: Statement) -> bool:
        """Whether both may mean the same licence."""
        return any(licences.is_same(one, two) for one in self.licences for two in other.licences)

    @property
    def is_explicit(self) -> bool:
        """Whether it is a key or a label, which leave no doubt what they are about."""
        return self.how in ("metadata", "label")


def stated(card: Document) -> tuple[Statement, ...]:
    """Every statement whose licence is known here, the metadata's first, then in line order."""
    below = [*_labels(card), *_sections(card), *_sentences(card)]
    return (*_metadata(card), *sorted(below, key=lambda one: one.line))


def _metadata(card: Document) -> Iterator[Statement]:
    value, name = card.metadata.get("license"), card.metadata.get("license_name")
    listed = value if isinstance(value, list) else [value]
    found = [licence for one in listed if (licence := licences.identified(one, name))]
    if found:
        shown = f"license: {', '.join(map(str, listed))}"
        yield Statement(card.key_line("license"), tuple(found), shown, "metadata")


def _labels(card: Document) -> Iterator[Statement]:
    for line in card.prose:
        text = plain(line.text)
        mark = _LABEL.match(text) or _RUN_IN.search(text)
        if not mark or "|" in mark["value"].strip("| ") or _is_of_others(card, line.number):
            continue  # a row of a table on several models, or a section on another thing
        # A label that goes on in sentences is read as they are.
        if found := _named(mark["value"]):
            shown = text.strip("-*|• ") if mark.re is _LABEL else f"License:{found[0]}"
            yield Statement(line.number, found, shown[:80], "label")


def _is_of_others(card: Document, line: int) -> bool:
    section = card.section_of(line)
    # The title of the whole card is the model's name, of which `Base` may be a part.
    return section is not None and section.level > 1 and bool(_OF_OTHERS.search(section.title))


def _sections(card: Document) -> Iterator[Statement]:
    for section in card.sections:
        if _HEADING.match(section.title):
            yield from _section(card, section)


def _section(card: Document, section: Section) -> Iterator[Statement]:
    lines = [line for line in card.prose if section.line < line.number <= section.end]
    if _OF_OTHERS.search(" ".join(line.text for line in lines)):
        return
    found: dict[str, tuple[int, str]] = {}
    begun: set[str] = set()  # with what lines begin: it may be meant, or not
    for line in lines:
        text = plain(line.text)
        named = _named(text)
        begun |= set(named[:1])
        is_name = named and len(text.split()) <= _FEW_WORDS
        for licence in named if is_name else licences.mentioned(text):
            found.setdefault(licence, (line.number, text))
    if len(found) == 1 and begun <= set(found):
        (licence, (number, text)), *_ = found.items()
        if not _LABEL.match(text):
            yield Statement(number, (licence,), text[:80], "section")


def _sentences(card: Document) -> Iterator[Statement]:
    for sentence in card.sentences:
        text = plain(sentence.text)
        mark = _SENTENCE.search(text)
        if mark and not _OF_OTHERS.search(text):
            found = licences.mentioned(f"under {mark['value']} license")
            if found:
                yield Statement(sentence.line, found, text[:80], "sentence")


def _named(value: str) -> tuple[str, ...]:
    """The licence that a label's value begins with, and others that it goes on to name."""
    first = licences.normalised(value) or licences.leading(value)
    found = (first, *licences.mentioned(value)) if first else ()
    return tuple(dict.fromkeys(one for one in found if one not in ("other", "unknown")))
