"""What a card must not say, and must, before its repository is published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evalkit import frontmatter
from evalkit.card_reading import read
from evalkit.cards import CARD_FILE
from evalkit.errors import CardError, Problem
from evalkit.family import Family, Member
from evalkit.lint import context_of, lint

_BUILD = "build the cards again: --redo cards"


def problems(
    family: Family, member: Member, folder: Path, base_folder: Path | None
) -> list[Problem]:
    """Every error of lint in a staged folder's card, and every sibling that the card forgets.

    base_folder: of a base that is somebody else's: its own card outweighs what is known of it.
    """
    if not (folder / CARD_FILE).is_file():
        return []  # told by those who look for files
    return [*_lint_errors(folder, base_folder), *_forgotten(family, member, folder)]


def _lint_errors(folder: Path, base_folder: Path | None) -> Iterator[Problem]:
    card = base_folder / CARD_FILE if base_folder else None
    cards = [read(card.read_text("utf-8", "replace"))] if card and card.is_file() else []
    try:
        findings = lint(context_of(folder, cards))
    except CardError as error:
        yield Problem(CARD_FILE, error.message, error.hint)
        return
    for finding in findings:
        if finding.severity == "error":
            where = f"{CARD_FILE}:{finding.line}" if finding.line else CARD_FILE
            yield Problem(where, f"{finding.rule} {finding.message}", finding.fix)


def _forgotten(family: Family, member: Member, folder: Path) -> Iterator[Problem]:
    """What of the family's links a card lacks: every sibling, and the newest of its kind."""
    text = (folder / CARD_FILE).read_text("utf-8", "replace")
    for other in family.members:
        if other.repo_id and other is not member and other.repo_id not in text:
            yield Problem(CARD_FILE, f"does not link its sibling {other.repo_id}", _BUILD)
    if member.superseded_by is None:
        return
    newest = family.member(member.superseded_by).repo_id
    try:
        told = frontmatter.parse(text).metadata.get("new_version")
    except CardError:
        return  # told already
    if newest and told != newest:
        yield Problem(CARD_FILE, f"is superseded by {newest}, but has no new_version", _BUILD)
