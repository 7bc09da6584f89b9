"""All figures that a card states, in tables of any layout, in sentences and in its metadata."""

from __future__ import annotations

from typing import NamedTuple

from evalkit.card_reading.document import Document
from evalkit.card_reading.figure import Figure
from evalkit.card_reading.model_index import index_figures, tasks_of
from evalkit.card_reading.model_names import own_names
from evalkit.card_reading.prose_figures import prose_figures
from evalkit.card_reading.score_tables import ScoreTable, score_tables
from evalkit.card_reading.surroundings import Surroundings
from evalkit.card_reading.task_names import shipped


class Scores(NamedTuple):
    """What a card scores: its tables of scores, and every figure in the order of lines."""

    tables: tuple[ScoreTable, ...]
    figures: tuple[Figure, ...]


def figures(card: Document) -> tuple[Figure, ...]:
    """Every figure of a card in the order of lines; a number that is not clearly one is none."""
    return scores(card).figures


def scores(card: Document) -> Scores:
    """The figures of a card, and those of tables once more in their tables."""
    around = Surroundings(card, shipped().with_tasks(tasks_of(card)))
    own = own_names(card)
    tables = tuple(score_tables(around, own))
    found = [figure for table in tables for figure in table.figures]
    found += [*index_figures(around, own), *prose_figures(around, own)]
    return Scores(tables, tuple(sorted(found, key=lambda figure: figure.line)))
