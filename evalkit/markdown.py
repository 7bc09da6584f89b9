"""Puts text from anywhere into Markdown so that it stays text.

Names, prompts and settings come from outside: none may open a tag, a link, a
heading or a table cell, nor leave template code behind. `Markdown` marks what is
finished; everything else goes through `escape`, `prose`, `code` or `fence`.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal
from urllib.parse import quote

Align = Literal["left", "right"]

_SPECIAL = re.compile(r"([\\`*\[\]|~$@])")
_TEMPLATE_CODE = re.compile(r"\{(?=[{%#]|$)")
_LONE_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# What would open a list, a heading or a rule, were it the first thing on its line.
_LINE_START = re.compile(r"(?:[-+]|#{1,6}|\d{1,9}[.)])(?=\s|$)|[-=]+$")
_AUTOLINK = re.compile(r"(?i)\b(https?:|ftp:)//|\bwww\.")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_JOINERS = "\u200c\u200d"  # needed to write some languages; every other format character goes


class Markdown(str):
    """Text that already is Markdown and must not be escaped again."""

    __slots__ = ()


def escape(text: str) -> Markdown:
    """`text` on one line, to be read as it stands in a paragraph, a heading or a table cell."""
    line = " ".join(printable(text).split())
    line = _LONE_UNDERSCORE.sub(r"\\_", _SPECIAL.sub(r"\\\1", line))
    line = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], line)
    line = _TEMPLATE_CODE.sub("&#123;", _AUTOLINK.sub(_no_autolink, line))
    if start := _LINE_START.match(line):
        mark = start.end() - 1 if line[0].isdigit() else 0
        line = f"{line[:mark]}\\{line[mark:]}"
    return Markdown(line)


def prose(text: str) -> Markdown:
    """Paragraphs and lists that a person wrote for the card: inline Markdown is theirs to use.

    Raw HTML, headings, fences and rules are shown as typed, so that no part of the card
    around them can be swallowed.
    """
    lines = [_calm(line) for line in printable(text.strip(), keep="\n").split("\n")]
    return Markdown("\n".join(lines))


def code(text: str) -> Markdown:
    """`text` as an inline code span."""
    line = " ".join(printable(text).split())
    if not line:
        return Markdown("")
    # A table would cut the span at a bar, and template code cannot be broken up inside one.
    if "|" in line or _TEMPLATE_CODE.search(line):
        return escape(line)
    ticks = "`" * (_longest_run(line, "`") + 1)
    pad = " " if "`" in (line[0], line[-1]) else ""
    return Markdown(f"{ticks}{pad}{line}{pad}{ticks}")


def fence(text: str, language: str = "") -> Markdown:
    """`text` as a code block that nothing inside it can close."""
    body = printable(text, keep="\n\t").rstrip("\n")
    ticks = "`" * max(3, _longest_run(body, "`") + 1)
    return Markdown(f"{ticks}{language}\n{body}\n{ticks}")


def link(text: str, url: str) -> Markdown:
    """A link, its text escaped and its address percent-encoded where it must be."""
    return Markdown(f"[{escape(text)}]({quote(printable(url), safe='/:?&=#.,+~%@!-_')})")


def bold(text: str) -> Markdown:
    """`text` (escaped unless it is Markdown) in bold; nothing for nothing."""
    shown = text if isinstance(text, Markdown) else escape(text)
    return Markdown(f"**{shown}**") if shown else Markdown("")


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[Align] = ()
) -> Markdown:
    """A table; cells are escaped unless they are Markdown. `align` defaults to left."""
    marks = [("---:" if side == "right" else "---") for side in (*align, *["left"] * len(head))]
    lines = [_row(head), f"| {' | '.join(marks[: len(head)])} |", *map(_row, rows)]
    return Markdown("\n".join(lines))


def printable(text: str, keep: str = "") -> str:
    """`text` without control, direction-changing and unpaired surrogate characters.

    Line breaks and tabs become spaces unless they are in `keep`.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        character if character in keep or _is_plain(character) else _instead(character)
        for character in text
    )


def _is_plain(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _instead(character: str) -> str:
    if character in _JOINERS:
        return character
    return " " if character in "\n\t\u2028\u2029\x85" else ""


def _no_autolink(found: re.Match[str]) -> str:
    # GitHub's dialect makes links of bare addresses; an escaped character in them stops it.
    return f"{found[1]}\\//" if found[1] else f"{found[0][:-1]}\\."


def _calm(line: str) -> str:
    line = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", line)
    line = _TEMPLATE_CODE.sub("&#123;", line)
    return re.sub(r"^(\s*)(#|=|```|~~~|\||-{2,}|\*{3,}|_{3,})", r"\1\\\2", line)


def _longest_run(text: str, character: str) -> int:
    return max((len(run) for run in re.findall(f"{re.escape(character)}+", text)), default=0)


def _row(cells: Sequence[str]) -> str:
    shown = (cell if isinstance(cell, Markdown) else escape(cell) for cell in cells)
    return f"| {' | '.join(shown)} |"
