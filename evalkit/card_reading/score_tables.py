"""Tables of scores as models with their scores, in whichever layout they are written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from evalkit.card_reading.figure import Figure
from evalkit.card_reading.model_names import OwnNames, Subject
from evalkit.card_reading.numbers import Written, number_of
from evalkit.card_reading.surroundings import Surroundings
from evalkit.card_reading.table_layout import Label, Layout, layout_of
from evalkit.card_reading.tables import Table, plain
from evalkit.card_reading.task_names import Name

SeriesKind = Literal["model", "recovery"]


class Cell(NamedTuple):
    """A number of a table. position: of its task among the table's tasks.

    figure: None for a recovery, which is derived from scores.
    """

    position: int
    line: int
    written: Written
    figure: Figure | None


@dataclass(frozen=True)
class Series:
    """What a table says of one model, or the recoveries of one.

    line: of the model's name. is_whole: whether all its numbers are understood and none is missing.
    """

    subject: Subject
    line: int
    kind: SeriesKind
    cells: tuple[Cell, ...]
    is_whole: bool

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The scores in order."""
        return tuple(cell.figure for cell in self.cells if cell.figure is not None)

    @property
    def averages(self) -> tuple[Figure, ...]:
        """Those that are means of others."""
        return tuple(figure for figure in self.figures if figure.is_average)

    @property
    def tasks(self) -> frozenset[str]:
        """Which tasks are scored."""
        return frozenset(figure.task for figure in self.figures if not figure.is_average)


@dataclass(frozen=True)
class ScoreTable:
    """A table that holds scores of tasks that are known."""

    table: Table
    rows_are: Literal["models", "tasks"]
    series: tuple[Series, ...]

    @property
    def models(self) -> tuple[Series, ...]:
        """The series of models, without those of recoveries."""
        return tuple(series for series in self.series if series.kind == "model")

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All its scores, model by model."""
        return tuple(figure for series in self.series for figure in series.figures)


class _Whose(NamedTuple):
    subject: Subject
    kind: SeriesKind


class _Reader(NamedTuple):
    """What the cells of one model have in common."""

    whose: _Whose
    layout: Layout
    around: Surroundings

    def cell(self, position: int, line: int, number: Written, name: Name) -> Cell | None:
        """A number as a score, or as a recovery; None for recoveries that stand among scores."""
        if self.whose.kind == "recovery":
            return Cell(position, line, number, None)
        if name.kind == "recovery":
            return None
        subject, task = self.whose.subject, name.task or ""
        figure = Figure(
            line=line,
            text=number.text,
            value=number.value,
            decimals=number.decimals,
            model=None if subject.is_own else subject.name,
            task=task,
            metric=name.metric,
            where="table",
            settings=dict(name.settings),
            scale=self.around.vocabulary.scale(task, name.metric),
            repo=subject.repo,
            has_spread=number.has_spread or self.layout.has_spread,
        )
        return Cell(position, line, number, figure)


def score_tables(around: Surroundings, own: OwnNames) -> Iterator[ScoreTable]:
    """The tables of a card that hold scores, in order."""
    for table in around.card.tables:
        layout = layout_of(table, around.vocabulary)
        if layout is None:
            continue
        series = list(_series(layout, around, own, table.line))
        if any(one.figures for one in series):
            yield ScoreTable(table, layout.rows_are, tuple(_settled(series, around, table.line)))


def _series(layout: Layout, around: Surroundings, own: OwnNames, line: int) -> Iterator[Series]:
    known = [name for name in layout.tasks if name]
    names = [name and around.named(name, known, line) for name in layout.tasks]
    for model, label in enumerate(layout.models):
        whose = _whose(label, around, own)
        cells = layout.cells[model]
        if whose is None or any(_is_difference(cell.text) for cell in cells.values()):
            continue
        numbers = {task: one for task, cell in cells.items() if (one := number_of(cell.text))}
        reader = _Reader(whose, layout, around)
        found = tuple(
            cell
            for task, number in numbers.items()
            if (name := names[task]) and (cell := reader.cell(task, cells[task].line, number, name))
        )
        if found:
            is_whole = _is_whole(numbers, names)
            yield Series(whose.subject, label.line, whose.kind, found, is_whole)


def _is_whole(numbers: Collection[int], names: Sequence[Name | None]) -> bool:
    """Whether all numbers are understood, and every task that is has one."""
    derived = {at for at, name in enumerate(names) if name and name.kind == "recovery"}
    return set(numbers) - derived == {at for at, name in enumerate(names) if name} - derived


def _whose(label: Label, around: Surroundings, own: OwnNames) -> _Whose | None:
    """Whose scores stand beside a label; None where it names no model."""
    name = around.vocabulary.name_of(label.text) if label.text.strip() else None
    if name is not None and name.kind == "recovery":
        return _Whose(Subject(plain(label.text)), "recovery")
    if not label.text.strip() or around.vocabulary.is_column("own", label.text):
        return _Whose(Subject("", is_own=True), "model")
    if name is not None or around.vocabulary.is_column("other", label.text):
        return None
    return _Whose(own.subject(label.text), "model")


def _settled(series: Sequence[Series], around: Surroundings, line: int) -> Iterator[Series]:
    figures = [figure for one in series for figure in one.figures]
    settled = iter(around.settled(figures, around.leaderboard(line)))
    for one in series:
        cells = tuple(
            cell if cell.figure is None else cell._replace(figure=next(settled))
            for cell in one.cells
        )
        yield _counted(replace(one, cells=cells))


def _counted(series: Series) -> Series:
    """With how many tasks its averages are of, where all of them are known."""
    if not series.is_whole or len(series.averages) != 1:
        return series
    counted = {"tasks": len(series.tasks)}

    def with_count(cell: Cell) -> Cell:
        figure = cell.figure
        if figure is None or not figure.is_average:
            return cell
        return cell._replace(figure=replace(figure, settings={**figure.settings, **counted}))

    return replace(series, cells=tuple(map(with_count, series.cells)))


def _is_difference(text: str) -> bool:
    return plain(text).startswith("+")
