"""What the text around a figure says of it, and figures that stand together of each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from evalkit.card_reading.document import Document
from evalkit.card_reading.figure import Figure
from evalkit.card_reading.task_names import Name, Vocabulary, leaderboard_in

_LINES_ABOVE = 3
_MOST = 4  # tasks of a leaderboard from which on a group of tasks is taken for it
_LENGTH_CONTROLLED = "length_controlled_winrate"
_ALPACA_EVAL = ("alpaca_eval", "alpaca_eval_2")


class Surroundings(NamedTuple):
    """A card, asked what stands around one of its lines."""

    card: Document
    vocabulary: Vocabulary

    def texts(self, line: int) -> Iterator[str]:
        """The lines right above, then the headings from the nearest one outwards."""
        section = self.card.section_of(line)
        start = section.line if section else 0
        above = [one.text for one in self.card.prose if start < one.number < line]
        yield from reversed(above[-_LINES_ABOVE:])
        holding = [one for one in self.card.sections if one.line <= line <= one.end]
        yield from (one.title for one in sorted(holding, key=lambda one: -one.line))

    def named(self, name: Name, beside: Sequence[Name], line: int) -> Name | None:
        """A name with its task, which for a metric alone the surroundings must tell.

        beside: the names that stand with it. None where the task stays open.
        """
        if name.task is not None or name.kind != "score":
            return name
        if name.metric is None:
            return None
        controlled = any(other.metric == _LENGTH_CONTROLLED for other in (name, *beside))
        if controlled and name.metric in self._metrics("alpaca_eval_2"):
            return replace(name, task="alpaca_eval_2")
        tasks = {other.task for other in beside if other.task} & self._tasks_with(name.metric)
        for text in self.texts(line) if not tasks else ():
            tasks = set(self.tasks_in(text)) & self._tasks_with(name.metric)
            if tasks:
                break
        return replace(name, task=tasks.pop()) if len(tasks) == 1 else None

    def tasks_in(self, text: str) -> Iterator[str]:
        """The tasks that a text names."""
        for mark in self.vocabulary.in_prose.finditer(text):
            name = self.vocabulary.name_of(mark[0])
            if name and name.task:
                yield name.task

    def leaderboard(self, line: int) -> str | None:
        """Which Open LLM Leaderboard the text around a line names."""
        return next((found for text in self.texts(line) if (found := leaderboard_in(text))), None)

    def settled(self, figures: Sequence[Figure], said: str | None = None) -> list[Figure]:
        """Figures that stand together, with what each says of the others.

        said: the leaderboard that the text around them names. They are one leaderboard's tasks,
        all written as parts of 1 or none, and length control means AlpacaEval 2.
        """
        names = self._tasks_among(figures, said)
        tasks = set(names)
        known = self.vocabulary.leaderboards.items()
        fits = [board for board, of in known if len(tasks & set(of)) >= _MOST]
        board = fits[0] if len(fits) == 1 else None
        if board is None and said in (None, "open_llm"):
            board = self._board_of_any(tasks) or said
        board = board or said
        unit = _are_parts_of_one(figures)
        return [
            self._settled(figure, task, board, unit)
            for figure, task in zip(figures, names, strict=True)
        ]

    def _settled(self, figure: Figure, task: str, board: str | None, unit: bool) -> Figure:
        settings = dict(figure.settings)
        if figure.is_average and board:
            settings.setdefault("leaderboard", board)
        scale = "unit" if unit and figure.scale == "percent" else figure.scale
        facts = self.vocabulary.facts.get(task, {})
        metric = figure.metric or facts.get("metric")
        metric = facts.get("also", {}).get(metric, metric)
        return replace(figure, task=task, metric=metric, settings=settings, scale=scale)

    def _tasks_among(self, figures: Sequence[Figure], said: str | None) -> list[str]:
        """The task of each figure, where the others tell which edition of it is meant."""
        facts = self.vocabulary.facts
        second = {one: fact["open_llm_v2"] for one, fact in facts.items() if "open_llm_v2" in fact}
        among = {figure.task for figure in figures} & {*second, *second.values()}
        is_second = said == "open_llm_v2" or len(among) >= _MOST
        editions = dict(second) if is_second else {}
        if any(figure.metric == _LENGTH_CONTROLLED for figure in figures):
            editions |= dict.fromkeys(_ALPACA_EVAL, "alpaca_eval_2")
        return [editions.get(figure.task, figure.task) for figure in figures]

    def _board_of_any(self, tasks: set[str]) -> str | None:
        known = self.vocabulary.leaderboards.items()
        fits = [board for board, of in known if len(tasks & set(of)) >= 2]
        return fits[0] if len(fits) == 1 else None

    def _metrics(self, task: str) -> Sequence[str]:
        found: Sequence[str] = self.vocabulary.facts.get(task, {}).get("metrics", ())
        return found

    def _tasks_with(self, metric: str) -> set[str]:
        return {task for task in self.vocabulary.facts if metric in self._metrics(task)}


def _are_parts_of_one(figures: Sequence[Figure]) -> bool:
    """Whether shares are written as parts of 1: all of them, and not all with few digits."""
    shares = [one for one in figures if one.scale == "percent" and math.isfinite(one.value)]
    return (
        bool(shares)
        and all(0 <= one.value <= 1 and not one.text.endswith("%") for one in shares)
        and any(one.decimals >= 2 and one.value > 0 for one in shares)
    )
