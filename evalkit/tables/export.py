"""Writes a leaderboard in each format that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evalkit import durable
from evalkit.errors import RecipeError, did_you_mean
from evalkit.family import Family
from evalkit.leaderboard import Definition
from evalkit.markdown import escape
from evalkit.standings import (
    PlainTable,
    Standings,
    family_standings,
    sorted_standings,
    to_markdown,
    to_plain,
)
from evalkit.tables import html, latex, parquet, rows

Writer = Callable[[Standings], bytes]


def family_table(
    family: Family, definition: Definition | str | None = None, own: str | None = None
) -> PlainTable:
    """The family's table as strings: `columns`, `rows` (in the family's order) and `notes`.

    definition: a leaderboard by name, by file, or itself; default what fits the results.
    """
    return to_plain(family_standings(family, definition, own))


def export_leaderboard(
    families: Sequence[Family],
    folder: Path,
    definition: Definition | str | None = None,
    formats: Sequence[str] = (),
) -> list[Path]:
    """Writes `<name>.md` and so on, of all members, best first; returns the files.

    formats: of `FORMATS`; default all. Equal numbers give equal bytes in each of them.

    Raises:
        CardError: there is no such definition, or a number is not finite.
        RecipeError: a format is unknown.
    """
    chosen = _chosen(formats)
    standings = sorted_standings(families, definition)
    contents = {name: FORMATS[name](standings) for name in chosen}  # all or nothing
    files = []
    for name, content in contents.items():
        file = folder / f"{standings.definition.name}.{name}"
        durable.write_bytes(file, content)
        files.append(file)
    return files


def _chosen(formats: Sequence[str]) -> list[str]:
    for name in formats:
        if name not in FORMATS:
            hint = did_you_mean(name, FORMATS)
            raise RecipeError(f"no format of leaderboards is called '{name}'", hint)
    return [name for name in FORMATS if not formats or name in formats]


def _markdown(standings: Standings) -> bytes:
    return f"# {escape(standings.definition.title)}\n\n{to_markdown(standings)}\n".encode()


FORMATS: Mapping[str, Writer] = {
    "md": _markdown,
    "csv": rows.to_csv,
    "json": rows.to_json,
    "tex": latex.to_latex,
    "html": html.to_html,
    "parquet": parquet.to_parquet,
}
