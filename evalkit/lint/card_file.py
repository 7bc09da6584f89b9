"""Mends a card file in place, and says what was changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from evalkit import durable
from evalkit.errors import CardError
from evalkit.lint.context import Context
from evalkit.lint.linting import mends, read_text
from evalkit.lint.rule import Rule


@dataclass(frozen=True)
class Change:
    """Lines that a rule changed: from `line` on, in the file as it was before this rule."""

    rule: str
    line: int
    before: tuple[str, ...]
    after: tuple[str, ...]


def mend_file(file: Path, context: Context, applied: Sequence[Rule]) -> list[Change]:
    """Writes what all rules can safely mend; the file is either as before, or wholly mended.

    Raises:
        CardError: it is a page saved from a website, of which not every line is the card's.
    """
    raw = read_text(file)
    newline = "\r\n" if "\r\n" in raw else "\n"
    text = context.card.text
    if text != raw.replace("\r\n", "\n").replace("\r", "\n"):
        raise CardError(
            f"{file} is a page that was saved from a website, which --fix does not change",
            "get the card itself: its README.md",
        )
    changes: list[Change] = []
    for rule, after in mends(context, applied):
        changes += _changes(rule, text, after)
        text = after
    if changes:
        durable.write_text(file, text.replace("\n", newline), file.stat().st_mode & 0o777)
    return changes


def _changes(rule: Rule, before: str, after: str) -> Iterator[Change]:
    old, new = before.split("\n"), after.split("\n")
    for tag, start, end, first, last in SequenceMatcher(None, old, new, False).get_opcodes():
        if tag != "equal":
            yield Change(rule.code, start + 1, tuple(old[start:end]), tuple(new[first:last]))
