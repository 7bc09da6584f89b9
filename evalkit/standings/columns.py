"""One column of a table: a cell per model, its heading with unit and n, and what to say below."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from evalkit.family import Member
from evalkit.leaderboard import Average, Column
from evalkit.metrics.combined import Z95
from evalkit.records import Score
from evalkit.standings.numbers import decimals_of, number, unit_of, with_interval
from evalkit.standings.protocols import unlike
from evalkit.standings.reported import REPORTED, apart, reported_mean, without_other_judges


@dataclass(frozen=True)
class Cell:
    """One number, unrounded, and how it is shown.

    decimals: to how many it is shown, with its interval.
    items: `n=300`, where the models of its column differ in it.
    mark: points to a note. best: no comparable model of its column has a better one.
    """

    value: float
    stderr: float | None
    ci_low: float | None
    ci_high: float | None
    n: int | None
    missing: int
    decimals: int
    items: str = ""
    mark: str = ""
    best: bool = False

    @property
    def text(self) -> str:
        """`61.3 [55.7, 66.6] (n=300) †`, with as much of it as there is."""
        shown = with_interval(self.value, self.ci_low, self.ci_high, self.decimals)
        return shown + (f" ({self.items})" if self.items else "") + self.mark


class Filled(NamedTuple):
    """A column of the definition with its scores and cells, None where there is none."""

    column: Column
    scores: list[Score | None]
    cells: list[Cell | None]
    heading: str
    notes: list[str]
    higher_is_better: bool

    @classmethod
    def of(cls, column: Column, members: Sequence[Member]) -> Filled:
        """The column filled from the members' results."""
        scores, notes = without_other_judges(column, members)
        told = apart(members, scores)
        own = [None if i in told else score for i, score in enumerate(scores)]
        found = [score for score in own if score is not None]
        counts = {_items(score) for score in found}
        items = counts.pop() if len(counts) == 1 else ""
        higher = _higher_is_better(own)
        marks, unlike_notes = unlike(column, members, own)
        marks = [REPORTED if i in told else mark for i, mark in enumerate(marks)]
        cells = [
            None if score is None else _cell(score, column, marks[i], items)
            for i, score in enumerate(scores)
        ]
        heading = column.heading
        if found:
            extra = ", ".join(part for part in (unit_of(found[0]), items) if part)
            heading = f"{heading} ({extra})" if extra else heading
            if found[0].scale != "count" and set(marks) <= {"", REPORTED}:
                cells = with_best(cells, higher)
        return cls(column, scores, cells, heading, [*notes, *unlike_notes], higher)


class Averaged(NamedTuple):
    """An average of the definition with its cells, None where there is none."""

    cells: list[Cell | None]
    higher_is_better: bool

    @classmethod
    def of(cls, average: Average, columns: Sequence[Filled], members: Sequence[Member]) -> Averaged:
        """The average of some columns for each model; it bears their marks.

        One that somebody reported is shown as such, and not computed.
        """
        parts = [column for column in columns if column.column.heading in average.of]
        higher = _higher_is_better(score for column in parts for score in column.scores)
        cells, marks = [], []
        for i, member in enumerate(members):
            told = reported_mean(average, member)
            scores = [part.scores[i] for part in parts] if told is None else [told.score]
            cells.append(_average(scores, average.decimals))
            marks.append(_mark([part.cells[i] for part in parts]) if told is None else REPORTED)
        if all(mark == REPORTED for cell, mark in zip(cells, marks, strict=True) if cell):
            marks = [""] * len(marks)
        marked = [
            cell and replace(cell, mark=mark) for cell, mark in zip(cells, marks, strict=True)
        ]
        alike = set(marks) <= {"", REPORTED}
        return cls(with_best(marked, higher) if alike else marked, higher)


def with_best(cells: Sequence[Cell | None], higher_is_better: bool) -> list[Cell | None]:
    """The same cells, the best as shown marked; none where there is nothing to choose from.

    Figures that are marked as reported are not chosen from, beside others that are not.
    """
    present = [cell for cell in cells if cell is not None and cell.mark != REPORTED]
    if len(present) < 2:
        return list(cells)
    choose = max if higher_is_better else min
    top = choose(present, key=lambda cell: cell.value)
    shown = number(top.value, top.decimals)
    return [
        replace(cell, best=True)
        if cell and cell.mark != REPORTED and number(cell.value, cell.decimals) == shown
        else cell
        for cell in cells
    ]


def _cell(score: Score, column: Column, mark: str, items: str) -> Cell:
    """items: what its heading says of them; a cell says it where that is something else."""
    own = _items(score)
    return Cell(
        score.value,
        score.stderr,
        score.ci_low,
        score.ci_high,
        score.n,
        score.missing,
        decimals_of(score, column),
        items="" if own == items else own,
        mark=mark,
    )


def _higher_is_better(scores: Iterable[Score | None]) -> bool:
    """The direction of a column, as its first score has it."""
    return next((score.higher_is_better for score in scores if score is not None), True)


def _mark(cells: Sequence[Cell | None]) -> str:
    return next((cell.mark for cell in cells if cell is not None and cell.mark), "")


def _items(score: Score) -> str:
    if score.n is None:
        return "n not stated"
    return f"n={score.n}" + (f", {score.missing} missing" if score.missing else "")


def _average(scores: Sequence[Score | None], decimals: int) -> Cell | None:
    present = [score for score in scores if score is not None]
    kinds = {(score.scale, score.higher_is_better) for score in present}
    if len(present) < len(scores) or len(kinds) > 1:
        return None
    value = sum(score.value for score in present) / len(present)
    errors = [score.stderr for score in present if score.stderr is not None]
    stderr = low = high = None
    if len(errors) == len(present):  # different tasks share no item: their errors are independent
        stderr = math.sqrt(sum(error * error for error in errors)) / len(errors)
        low, high = value - Z95 * stderr, value + Z95 * stderr
    missing = sum(score.missing for score in present)
    return Cell(value, stderr, low, high, None, missing, decimals)
