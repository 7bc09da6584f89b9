"""Standings as Markdown for cards, and as plain strings for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from evalkit.markdown import Align, Markdown, bold, escape, link, table
from evalkit.standings.numbers import EMPTY
from evalkit.standings.table import Row, Standings


class PlainTable(NamedTuple):
    """A table as strings, for a terminal."""

    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def to_markdown(standings: Standings, links: Mapping[str, str] | None = None) -> Markdown:
    """The table, its notes below, own row bold; `links` maps checkpoint names to addresses."""
    rows = [_markdown_row(row, links or {}) for row in standings.rows]
    notes = "\n".join(f"- {escape(note)}" for note in standings.notes)
    right: list[Align] = ["right"]
    align = ["left", *right * len(standings.headings)]
    shown = table(["Model", *standings.headings], rows, align)
    return Markdown(f"{shown}\n\n{notes}" if notes else shown)


def to_plain(standings: Standings) -> PlainTable:
    """The table as strings, unescaped."""
    rows = [
        [row.member.title, *(cell.text if cell else EMPTY for cell in row.cells)]
        for row in standings.rows
    ]
    return PlainTable(["Model", *standings.headings], rows, list(standings.notes))


def _markdown_row(row: Row, links: Mapping[str, str]) -> list[str]:
    title, address = row.member.title, links.get(row.member.checkpoint.name)
    shown = [
        link(title, address) if address else escape(title),
        *(Markdown(cell.text if cell else EMPTY) for cell in row.cells),
    ]
    return [bold(cell) for cell in shown] if row.own else list(shown)
