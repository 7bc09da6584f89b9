"""What the sources of one's own data share: options, and the way from rows to records."""

from __future__ import annotations

import gc
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator

from evalkit.console import say
from evalkit.errors import Problem, RecipeError, did_you_mean
from evalkit.records import Prompt, Question
from evalkit.roles import Options, Source
from evalkit.sources.columns import getter
from evalkit.sources.conditions import Condition, predicate
from evalkit.sources.conversion import maker
from evalkit.sources.readers import without_ending
from evalkit.sources.rows import Faults, OptionError, Row, RowError, Table
from evalkit.sources.selection import Portion, Record, shuffle_key, without_duplicates
from evalkit.sources.shapes import ANSWERED, FIELDS, QUESTIONS, Recognised, recognise

_MEND_HINT = "mend these lines; docs/data.md shows the formats"
_DROP_HINT = "mend them, or leave them out with filter, or with bad_rows: drop"


class OwnDataOptions(Options):
    """What is taken of the data, and how it is read; docs/data.md shows each.

    split: by default `train`, or the only one.
    columns: field -> column, for columns with names of their own; null leaves a field out.
    filter: conditions on columns that a row must meet, all of them.
    bad_rows: `refuse` stops at rows that cannot be used, `drop` leaves them out.
    deduplicate: keep only the first of rows with the same prompt.
    portion: keep a train or a test part, for data without splits.
    shuffle: a seed; default the order of the data.
    skip, count: leave out the first so many, then take at most so many.
    """

    split: str | None = None
    columns: Mapping[str, str | None] = {}
    filter: tuple[Condition, ...] = ()
    bad_rows: Literal["refuse", "drop"] = "refuse"
    deduplicate: bool = False
    portion: Portion | None = None
    shuffle: int | None = None
    skip: int = Field(default=0, ge=0)
    count: int | None = Field(default=None, ge=1)

    @field_validator("columns")
    @classmethod
    def _known_fields(cls, value: Mapping[str, str | None]) -> Mapping[str, str | None]:
        for field in value:
            if field not in FIELDS:
                raise ValueError(f"there is no field '{field}': {did_you_mean(field, FIELDS)}")
        return dict(value)


class Examination(NamedTuple):
    """Everything found out about the data on the way from rows to records.

    records: those taken, in their order. rows: as read. filtered: rows that the filter keeps.
    usable: rows that are of the shape. unique: left by `deduplicate`. portion: left by it.
    faults: of rows that are not of the shape. duplicates: rows that `deduplicate` leaves out.
    """

    table: Table
    found: Recognised
    records: list[Record]
    faults: Faults
    filtered: int
    usable: int
    unique: int
    portion: int
    duplicates: int

    @property
    def left_out(self) -> dict[str, int]:
        """Rows that become no record, by why; with `unique`, they are all rows that were read."""
        counts = {"dropped": self.faults.total, "duplicate": self.duplicates}
        filtered = len(self.table.rows) - self.unique - sum(counts.values())
        every = {"filtered": filtered, **counts}
        return {why: count for why, count in every.items() if count}


class OwnDataSource(Source):
    """Prompts and questions made from rows."""

    Options: ClassVar[type[Options]] = OwnDataOptions
    options: Any
    _dropped: Mapping[str, str] = {}

    @abstractmethod
    def table(self) -> Table:
        """Every row of the split.

        Raises:
            RecipeError: the data is not there, or cannot be read.
        """

    def prompts(self) -> list[Prompt]:
        """The records taken, as prompts.

        Raises:
            RecipeError: rows that cannot be used, each with file and row; or these are questions.
        """
        found = self._usable()
        if found.found.shape == QUESTIONS:
            raise RecipeError(
                f"{found.table.name} holds {found.found.said}, and prompts are asked for",
                "to use the first turns, say columns: {prompt: turns.0}",
            )
        return [record for record in found.records if isinstance(record, Prompt)]

    def questions(self) -> list[Question]:
        """The records taken, as multi-turn questions, with the errors of `prompts`."""
        found = self._usable()
        if found.found.shape != QUESTIONS:
            raise RecipeError(
                f"{found.table.name} holds {found.found.said}, and multi-turn questions are asked"
                " for",
                "a row of them has turns: a list of texts; see columns in docs/data.md",
            )
        return [record for record in found.records if isinstance(record, Question)]

    def problems(self, option: str) -> list[Problem]:
        """What is wrong with the data or with options for it; `where` is an option's name.

        option: names the data itself.
        """
        try:
            self._refuse_faults(self.examine())
        except OptionError as error:
            return [Problem(error.option, error.message, error.hint)]
        except RecipeError as error:
            if not error.problems:
                return [Problem(option, error.message, error.hint)]
            told = [Problem(option, f"{one.where}  {one.message}") for one in error.problems]
            return [*told[:-1], told[-1]._replace(hint=error.hint)]
        return []

    def examine(self) -> Examination:
        """Takes the data all the way, and says what became of it; does not stop at bad rows.

        Raises:
            RecipeError: the data as a whole cannot be used.
        """
        with _collector_paused():
            return self._examine(self.table())

    def dropped(self) -> dict[str, str]:
        """For `description`: how many rows `bad_rows: drop` left out, once they were read."""
        return dict(self._dropped)

    def settings(self) -> dict[str, Any]:
        """The options that were set, for digests: those left alone change nothing."""
        return dict(self.options.model_dump(mode="json", exclude_defaults=True))

    def _usable(self) -> Examination:
        """What was found out, after saying which rows are left out; bad rows are refused."""
        found = self.examine()
        self._refuse_faults(found)
        rows, left_out = len(found.table.rows), found.left_out
        if "dropped" in left_out:
            self._dropped = {"dropped": f"{left_out['dropped']:,} of {rows:,} rows"}
        if left_out:
            told = ", ".join(f"{count:,} {why}" for why, count in left_out.items())
            _say_once(
                f"note: {found.table.name}: {rows:,} rows read, {told}, {found.unique:,} left"
            )
        return found

    def _examine(self, table: Table) -> Examination:
        if not table.rows:
            raise table.faults.error(table.name, _MEND_HINT)
        found = recognise(table.columns, self.options.columns, table.name)
        faults = Faults()
        kept = self._filtered(table, faults)
        self._refuse_unpaired(table, found)
        made = _made(kept, found, table, faults)
        usable = [(position, record) for position, record in enumerate(made) if record is not None]
        unique = without_duplicates(usable) if self.options.deduplicate else usable
        duplicates = len(usable) - len(unique)
        unique = _with_ids_once(unique, kept, found, faults)
        part = self.options.portion
        portion = [record for _, record in unique if part is None or part.holds(record)]
        taken = self._taken(portion, table.name)
        counts = (len(kept), len(usable), len(unique), len(portion), duplicates)
        return Examination(table, found, taken, faults, *counts)

    def _filtered(self, table: Table, faults: Faults) -> list[Row]:
        keep = predicate(self.options.filter, table.columns, table.name)
        kept = []
        for row in table.rows:
            try:
                if keep(row):
                    kept.append(row)
            except RowError as fault:
                faults.add(row.place, fault)
        if table.rows and not kept and not faults.total:
            raise OptionError(
                "filter",
                f"the filter keeps none of {len(table.rows):,} rows",
                "loosen its conditions",
            )
        return kept

    def _refuse_unpaired(self, table: Table, found: Recognised) -> None:
        """KTO's rows say with `label` whether the response is good: bad ones are no gold."""
        looked_at = {condition.column for condition in self.options.filter}
        if found.shape == ANSWERED and "label" in table.columns and "label" not in looked_at:
            label = getter("label", table.columns)
            if any(isinstance(label(row.values), bool) for row in table.rows):
                raise OptionError(
                    "filter",
                    f"{table.name} says in the column 'label' which responses are good",
                    "keep those alone: filter: [{column: label, equals: true}]",
                )

    def _taken(self, records: list[Record], name: str) -> list[Record]:
        options = self.options
        if options.shuffle is not None:
            records = sorted(records, key=shuffle_key(options.shuffle))
        if options.skip and options.skip >= len(records):
            raise OptionError(
                "skip", f"skips {options.skip:,}, and {name} has only {len(records):,} to take from"
            )
        end = None if options.count is None else options.skip + options.count
        return records[options.skip : end]

    def _refuse_faults(self, found: Examination) -> None:
        table, faults = found.table, found.faults
        if table.faults.total:
            raise table.faults.error(table.name, _MEND_HINT)
        if faults.total and self.options.bad_rows == "refuse":
            raise faults.error(table.name, _DROP_HINT)
        if not found.usable and faults.total:
            raise faults.error(table.name, "none of its rows can be used")


@cache
def _say_once(line: str) -> None:
    """Every step of a run reads its data anew."""
    say(line)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Millions of small objects come about, none in a circle: walking them doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _made(rows: list[Row], found: Recognised, table: Table, faults: Faults) -> list[Record | None]:
    """The record of each row, None where it cannot be one."""
    make, prefixes = maker(found, table.columns), _id_prefixes(table.files)
    made: list[Record | None] = []
    for row in rows:
        try:
            made.append(make(row, f"{prefixes[row.file]}row-{row.number}"))
        except RowError as fault:
            faults.add(row.place, fault)
            made.append(None)
    return made


def _id_prefixes(files: Sequence[str]) -> dict[str, str]:
    """What tells the rows of several files apart: their names below the folder that all are in."""
    if len(files) == 1:
        return {files[0]: ""}
    folder = os.path.commonpath([os.path.dirname(file) for file in files])
    return {file: without_ending(os.path.relpath(file, folder)).replace(os.sep, "-") + "-"
            for file in files}  # fmt: skip


def _with_ids_once(
    records: list[tuple[int, Record]], rows: list[Row], found: Recognised, faults: Faults
) -> list[tuple[int, Record]]:
    """Results are kept under ids, so no two records may have the same: later ones are faults."""
    first: dict[str, int] = {}
    kept = []
    for position, record in records:
        if record.id in first:
            column = found.columns.get("id", "")
            said = f"'{record.id}' is already that of {rows[first[record.id]].place}"
            faults.add(rows[position].place, RowError(column, said, "is not unique"))
        else:
            first[record.id] = position
            kept.append((position, record))
    return kept
