"""The finished table: every model's cells in every column, from records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalkit.family import Family, Member
from evalkit.leaderboard import Definition, definition_for, read_definition
from evalkit.standings.columns import Cell, Filled, average_cells
from evalkit.standings.notes import notes_of


@dataclass(frozen=True)
class Row:
    """One model; cells are None where it was not measured."""

    family: str
    member: Member
    cells: tuple[Cell | None, ...]
    own: bool = False


@dataclass(frozen=True)
class Standings:
    """The finished table: `headings` beside the model's name, `labels` the same without units."""

    definition: Definition
    labels: tuple[str, ...]
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def family_standings(
    family: Family, definition: Definition | str | None = None, own: str | None = None
) -> Standings:
    """The family in its own order: base, iterations, variants.

    definition: a name, a file, or the thing itself; default what fits the family's results.
    own: checkpoint name of the member whose row is to be bold.
    """
    return _standings([(family.name, member) for member in family.members], definition, own)


def sorted_standings(
    families: Sequence[Family], definition: Definition | str | None = None
) -> Standings:
    """The members of all families, best first by the definition's `sort_by`."""
    members = [(family.name, member) for family in families for member in family.members]
    standings = _standings(members, definition, None)
    place, higher = _sort_key(standings)

    def rank(row: Row) -> tuple[bool, float, str]:
        cell = row.cells[place] if row.cells else None
        if cell is None:
            return (True, 0.0, row.member.title)
        return (False, -cell.value if higher else cell.value, row.member.title)

    return replace(standings, rows=tuple(sorted(standings.rows, key=rank)))


def _standings(
    members: Sequence[tuple[str, Member]], wanted: Definition | str | None, own: str | None
) -> Standings:
    definition = read_definition(wanted) if isinstance(wanted, str) else wanted
    everyone = [member for _, member in members]
    definition = definition or definition_for(everyone)
    columns = [Filled.of(column, everyone) for column in definition.columns]
    averages = [average_cells(average, columns, len(members)) for average in definition.averages]
    rows = tuple(
        Row(
            name,
            member,
            (*(cells[i] for cells in averages), *(column.cells[i] for column in columns)),
            own=member.checkpoint.name == own,
        )
        for i, (name, member) in enumerate(members)
    )
    labels = [average.label for average in definition.averages]
    return Standings(
        definition,
        labels=(*labels, *(column.column.heading for column in columns)),
        headings=(*labels, *(column.heading for column in columns)),
        rows=rows,
        notes=tuple(notes_of(definition, averages, columns, everyone)),
    )


def _sort_key(standings: Standings) -> tuple[int, bool]:
    definition = standings.definition
    place = standings.labels.index(definition.sort_by) if definition.sort_by else 0
    column = place - len(definition.averages)
    if column < 0 or not definition.columns:
        return place, True
    scores = (definition.columns[column].score_of(row.member) for row in standings.rows)
    first = next((score for score in scores if score is not None), None)
    return place, first.higher_is_better if first else True
