"""The finished table: every model's cells in every column, from records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalkit.family import Family, Member
from evalkit.leaderboard import Definition, definition_for, read_definition
from evalkit.standings.columns import Averaged, Cell, Filled
from evalkit.standings.notes import notes_of
from evalkit.standings.reported import is_reported


@dataclass(frozen=True)
class Row:
    """One model; cells are None where it was not measured."""

    family: str
    member: Member
    cells: tuple[Cell | None, ...]
    own: bool = False


@dataclass(frozen=True)
class Standings:
    """The finished table: `headings` beside the model's name, `labels` the same without units.

    higher_is_better: of each column; an average has the direction of what it is of.
    """

    definition: Definition
    labels: tuple[str, ...]
    headings: tuple[str, ...]
    higher_is_better: tuple[bool, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def family_standings(
    family: Family, definition: Definition | str | None = None, own: str | None = None
) -> Standings:
    """The family in its own order: base, iterations, variants; then its baselines.

    definition: a name, a file, or the thing itself; default what fits the family's results.
    own: checkpoint name of the member whose row is to be bold.
    """
    every = [(family.name, member) for member in (*family.members, *family.baselines)]
    return _standings(every, definition, own)


def sorted_standings(
    families: Sequence[Family], definition: Definition | str | None = None
) -> Standings:
    """The members of all families, best first by the definition's `sort_by`."""
    members = [(family.name, member) for family in families for member in family.members]
    baselines = {member.checkpoint.name: (family.name, member)
                 for family in families for member in family.baselines}  # fmt: skip
    members += baselines.values()
    standings = _standings(members, definition, None)
    sort_by = standings.definition.sort_by
    place = standings.labels.index(sort_by) if sort_by else 0

    def rank(row: Row) -> tuple[bool, float, str]:
        cell = row.cells[place] if row.cells else None
        if cell is None:
            return (True, 0.0, row.member.title)
        higher = standings.higher_is_better[place]
        return (False, -cell.value if higher else cell.value, row.member.title)

    return replace(standings, rows=tuple(sorted(standings.rows, key=rank)))


def _standings(
    members: Sequence[tuple[str, Member]], wanted: Definition | str | None, own: str | None
) -> Standings:
    definition = read_definition(wanted) if isinstance(wanted, str) else wanted
    everyone = [member for _, member in members]
    definition = definition or definition_for([one for one in everyone if one.kind != "reported"])
    columns = [Filled.of(column, everyone) for column in definition.columns]
    averages = [Averaged.of(average, columns, everyone) for average in definition.averages]
    shown: list[Averaged | Filled] = [*averages, *columns]
    every = [
        Row(
            name,
            member,
            tuple(column.cells[i] for column in shown),
            own=member.checkpoint.name == own,
        )
        for i, (name, member) in enumerate(members)
    ]
    rows = tuple(row for row in every if any(row.cells) or not is_reported(row.member))
    absent = [row.member.title for row in every if row not in rows]
    labels = [average.label for average in definition.averages]
    return Standings(
        definition,
        labels=(*labels, *(column.column.heading for column in columns)),
        headings=(*labels, *(column.heading for column in columns)),
        higher_is_better=tuple(column.higher_is_better for column in shown),
        rows=rows,
        notes=(
            *notes_of(definition, [one.cells for one in averages], columns, everyone),
            *(
                [f"Nothing is reported for these columns of: {', '.join(absent)}."]
                if absent
                else []
            ),
        ),
    )
