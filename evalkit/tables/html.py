"""A leaderboard as one HTML page that needs nothing else: no script, legible in light and dark."""

from __future__ import annotations

from typing import Any

from evalkit import resources
from evalkit.markdown import printable
from evalkit.standings import EMPTY, Cell, Row, Standings, number

TEMPLATE = "tables/leaderboard.html.j2"


def to_html(standings: Standings) -> bytes:
    """The whole page; every name and note is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(resources.template(TEMPLATE))
    text = template.render(
        title=_plain(standings.definition.title),
        headings=[_plain(heading) for heading in standings.headings],
        rows=[_row(row) for row in standings.rows],
        notes=[_plain(note) for note in standings.notes],
        empty=EMPTY,
    )
    return text.encode()


def _row(row: Row) -> dict[str, Any]:
    return {
        "title": _plain(row.member.title),
        "cells": [_cell(cell) if cell else None for cell in row.cells],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    interval = ""
    if cell.ci_low is not None and cell.ci_high is not None:
        interval = f"[{number(cell.ci_low, cell.decimals)}, {number(cell.ci_high, cell.decimals)}]"
    return {
        "value": number(cell.value, cell.decimals),
        "interval": interval,
        "counted": f"({cell.items})" if cell.items else "",
        "mark": cell.mark.strip(),
        "best": cell.best,
    }


def _plain(text: str) -> str:
    return " ".join(printable(text).split())
