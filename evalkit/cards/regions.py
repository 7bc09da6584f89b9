"""Marked regions: what a person wrote into a card between two marks survives every rebuild.

    <!-- evalkit:keep NAME -->
    text that is theirs
    <!-- /evalkit:keep -->

Templates offer some, empty; a person may put others anywhere. The last line of a card seals what
lies outside of them, so that an edit there is told before it is overwritten.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from typing import NamedTuple

from evalkit.card_reading import Document, read
from evalkit.errors import CardError
from evalkit.markdown import Markdown

END = "<!-- /evalkit:keep -->"
HOMELESS = (
    "<!-- Kept by evalkit: the place of what follows is gone from this page. Move it, or remove it"
    " with its marks. -->"
)
_START = re.compile(r"<!-- evalkit:keep ([A-Za-z0-9][\w.-]{0,63}) -->")
_SEAL = re.compile(r"<!-- evalkit:sealed ([0-9a-f]{64}) -->")
_SHOWN = 6  # lines of an edit that a message quotes


class Region(NamedTuple):
    """What stands between two marks.

    heading: of the section it stands in, empty above the first and for one whose section is gone.
    line: of its first mark.
    """

    name: str
    text: str
    heading: str
    line: int


def empty_region(name: str) -> Markdown:
    """The two marks, for a template that offers a place to write in."""
    return Markdown(f"<!-- evalkit:keep {name} -->\n{END}")


def sealed(text: str) -> str:
    """A built card with the seal that says, later, whether it was edited by hand."""
    body = text.rstrip("\n")
    return f"{body}\n\n<!-- evalkit:sealed {_digest(body)} -->\n"


def is_sealed(text: str) -> bool:
    """Whether evalkit wrote this card, edited since or not."""
    return _split_seal(text)[1] is not None


def was_edited(text: str) -> bool:
    """Whether something outside the regions of a card is not as evalkit wrote it."""
    body, seal = _split_seal(text)
    return seal != _digest(body)


def holds_own_words(text: str) -> bool:
    """Whether a person wrote into a card: between its marks, or elsewhere."""
    try:
        return was_edited(text) or any(region.text.strip() for region in regions(text))
    except CardError:
        return True  # its marks are no longer as evalkit set them


def rebuilt(built: str, before: str, overwrite: bool = False) -> str:
    """A newly built card with the regions of the card that it replaces.

    A region goes where the new card has one of its name, else to the end of the section that it
    stood in, else, with a notice, to the end of the card.

    overwrite: what was edited outside the regions may be lost; the regions never are.

    Raises:
        CardError: the old card was edited outside its regions, or a mark has no partner.
    """
    if not overwrite and was_edited(before):
        raise CardError(
            f"the card was edited by hand outside its kept regions:\n    {_edits(before, built)}",
            f"put what is to stay between '<!-- evalkit:keep NAME -->' and '{END}', or --replace",
        )
    text = _split_seal(built)[0]
    for region in regions(before):
        if region.text.strip():
            text = _placed(text, region)
    return sealed(text)


def regions(text: str) -> list[Region]:
    """The regions of a card in order; marks within code blocks are none.

    Raises:
        CardError: a region is not closed, lies in another, or its name stands twice, or what it
            holds would swallow the rest of the card.
    """
    document = read(text)
    found: list[Region] = []
    for start, end in _pairs(document):
        name = _name(document.lines[start].text)
        if any(other.name == name for other in found):
            raise _broken(start, f"the name '{name}' stands twice")
        held = "\n".join(line.text for line in document.lines[start + 1 : end])
        section = None if _is_homeless(document, start) else document.section_of(start + 1)
        found.append(Region(name, held, section.title if section else "", start + 1))
        _refuse_unclosed(held, start)
    return found


def _pairs(document: Document) -> Iterator[tuple[int, int]]:
    """Places of opening and closing marks in `document.lines`."""
    start: int | None = None
    for place, line in enumerate(document.lines):
        if line.kind != "text":
            continue
        if _START.fullmatch(line.text.strip()):
            if start is not None:
                raise _broken(start, "another opens before it is closed")
            start = place
        elif line.text.strip() == END:
            if start is None:
                raise _broken(place, "it closes what was not opened")
            yield start, place
            start = None
    if start is not None:
        raise _broken(start, "it is not closed (nor may a code block in it stay open)")


def _is_homeless(document: Document, start: int) -> bool:
    above = (line.text for line in reversed(document.lines[:start]) if line.text.strip())
    return next(above, "") == HOMELESS


def _name(mark: str) -> str:
    found = _START.fullmatch(mark.strip())
    assert found is not None
    return found[1]


def _broken(place: int, why: str) -> CardError:
    return CardError(
        f"line {place + 1} of the card: a kept region's mark is broken: {why}",
        f"each '<!-- evalkit:keep NAME -->' needs its own '{END}' on a line below",
    )


def _refuse_unclosed(text: str, start: int) -> None:
    """A comment that stays open would hide all of the card below the region."""
    prose = "\n".join(line.text for line in read(text).prose)
    if prose.rfind("<!--") > prose.rfind("-->"):
        raise _broken(start, "a comment in it is not closed")


def _placed(text: str, region: Region) -> str:
    document = read(text)
    lines = [line.text for line in document.lines]
    block = [f"<!-- evalkit:keep {region.name} -->", *region.text.split("\n"), END]
    for start, end in _pairs(document):
        if _name(lines[start]) == region.name:
            return "\n".join([*lines[:start], *block, *lines[end + 1 :]])
    section = next((one for one in document.sections if one.title == region.heading), None)
    if section is None:
        return "\n".join([*_trimmed(lines), "", HOMELESS, "", *block])
    after = next((one.line - 1 for one in document.sections if one.line > section.line), len(lines))
    return "\n".join([*_trimmed(lines[:after]), "", *block, "", *lines[after:]]).rstrip("\n")


def _trimmed(lines: Sequence[str]) -> list[str]:
    return "\n".join(lines).rstrip("\n").split("\n")


def _split_seal(text: str) -> tuple[str, str | None]:
    """The card above its seal, and the digest that this holds; None without one."""
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    seal = _SEAL.fullmatch(lines[-1].strip())
    if seal is None:
        return "\n".join(lines), None
    return "\n".join(lines[:-1]).rstrip("\n"), seal[1]


def _digest(body: str) -> str:
    """sha256 of a card without what stands in its regions, nor any regions of a person's own."""
    return hashlib.sha256("\n".join(_outside(body)).encode("utf-8", "surrogatepass")).hexdigest()


def _outside(body: str) -> list[str]:
    """The lines outside of regions; empty ones, which a moved region leaves behind, do not count.

    Of a card whose marks are broken, every line.
    """
    document = read(body)
    try:
        inside = {n for start, end in _pairs(document) for n in range(start, end + 1)}
    except CardError:
        inside = set()
    kept = (line.text for n, line in enumerate(document.lines) if n not in inside)
    return [line.rstrip() for line in kept if line.strip() and line != HOMELESS]


def _edits(before: str, built: str) -> str:
    """The first lines that only the old card has: what was typed, or changed since in a record."""
    old, new = _outside(_split_seal(before)[0]), _outside(_split_seal(built)[0])
    lines = [line for line in unified_diff(new, old, lineterm="", n=0) if line.startswith("+")][1:]
    more = len(lines) - _SHOWN
    return "\n    ".join([*lines[:_SHOWN], *([f"... and {more} more"] if more > 0 else [])])
