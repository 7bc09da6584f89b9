"""Reported scores as results, with their origin, for tables and cards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from evalkit.baselines.scores import AVERAGE, ReportedScore
from evalkit.leaderboard import definition_names, read_definition
from evalkit.records import ResultSet, Scale, Score

LM_EVAL = "lm_eval_tasks"
_SCALES: dict[str, Scale] = {"mt_bench": "rating"}
_COUNTS = frozenset({"avg_length"})
_METRICS = {("mt_bench", "score"): "average"}


class _Place(NamedTuple):
    """Where a score stands among evalkit's own."""

    benchmark: str
    task: str
    metric: str


def results_of(model: str, scores: Iterable[ReportedScore]) -> tuple[ResultSet, ...]:
    """A result set for each page, suite and way of making them, in the order given.

    A leaderboard's mean is the score `average` of a task `average`, with the leaderboard in its
    settings.
    """
    grouped: dict[tuple[str, ...], list[tuple[ReportedScore, Score]]] = {}
    for one in scores:
        place = _place(one)
        made = sorted((key, str(value)) for key, value in one.settings.items())
        key = (place.benchmark, one.source, one.date, one.by, str(made))
        grouped.setdefault(key, []).append((one, _score(one, place)))
    return tuple(
        ResultSet(
            benchmark=key[0],
            checkpoint=model,
            checkpoint_digest="",
            scores=tuple(score for _, score in found),
            provenance={
                "reported": {"url": key[1], "date": key[2], "by": key[3]},
                **_judge(found[0][0]),
            },
        )
        for key, found in grouped.items()
    )


def _judge(one: ReportedScore) -> dict[str, dict[str, str]]:
    """Who judged, where the source says so."""
    judge = one.settings.get("judge")
    return {"judge": {"name": str(judge)}} if judge else {}


def _place(one: ReportedScore) -> _Place:
    board = str(one.settings.get("leaderboard") or one.task)
    if board in definition_names():
        columns = read_definition(board).columns
        if one.task in (AVERAGE, board):  # a leaderboard's mean, or a suite named after its board
            task = AVERAGE if one.task == AVERAGE else columns[0].task
            metric = _METRICS.get((one.task, one.metric), one.metric)
            return _Place(columns[0].benchmark, task, metric)
        found = next((column for column in columns if column.covers(one.task)), None)
        if found is not None:
            return _Place(found.benchmark, one.task, one.metric)
    for suite in ("alpaca_eval", "mt_bench"):
        if one.task.startswith(suite):
            return _Place(suite, one.task, _METRICS.get((one.task, one.metric), one.metric))
    return _Place(LM_EVAL, one.task, one.metric)


def _score(one: ReportedScore, place: _Place) -> Score:
    settings = {key: value for key, value in one.settings.items() if key != "n"}
    n = one.settings.get("n")
    scale = "count" if place.metric in _COUNTS else _SCALES.get(place.benchmark, "percent")
    return Score(
        place.task,
        place.metric,
        one.value,
        int(n) if n is not None else None,
        scale,
        settings=settings,
    )
