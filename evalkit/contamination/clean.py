"""Scores once more, over the items that no training text overlaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from evalkit.metrics.combined import Z95, size_of
from evalkit.metrics.score import measured
from evalkit.records import ResultSet, Score
from evalkit.stats import Interval, mean_interval, wilson_interval

_FACTORS = {"percent": 100.0}
_RANGES = {"percent": (0.0, 100.0), "unit": (0.0, 1.0), "rating": (1.0, 10.0)}


def clean_scores(result: ResultSet, hits: Mapping[str, Set[str]]) -> tuple[Score, ...]:
    """The scores of a result over its items that are not among the hits.

    Only a score that is the mean over its items, or a group's mean of such, can be told so: one
    that is fitted (a length-controlled win rate) or that counts otherwise has no clean form, nor
    has one all of whose items are hits.

    result: with its samples. hits: ids of overlapping items, by task.
    """
    values = _values(result)
    found: dict[tuple[str, str], Score] = {}
    for score in result.scores:
        clean = _of_items(score, values.get((score.task, score.metric), {}), hits)
        if clean is not None:
            found[score.task, score.metric] = clean
    for score in result.scores:
        if (score.task, score.metric) not in values:
            clean = _of_group(score, result.scores, found)
            if clean is not None:
                found[score.task, score.metric] = clean
    keys = [(score.task, score.metric) for score in result.scores]
    return tuple(found[key] for key in keys if key in found)


def _values(result: ResultSet) -> dict[tuple[str, str], dict[str, float]]:
    """By task and metric, the value of each item."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for sample in result.samples:
        for metric, value in sample.metrics.items():
            found.setdefault((sample.task, metric), {})[sample.id] = value
    return found


def _of_items(
    score: Score, values: Mapping[str, float], hits: Mapping[str, Set[str]]
) -> Score | None:
    if not values or not _is(score.value, math.fsum(values.values()) / len(values)):
        return None
    overlapping = hits.get(score.task, frozenset())
    kept = [value for item, value in values.items() if item not in overlapping]
    if not kept:
        return None
    return _rescored(score, _interval(score, kept), len(values) - len(kept))


def _interval(score: Score, values: Sequence[float]) -> Interval:
    factor = _FACTORS.get(score.scale, 1.0)
    if set(values) <= {0.0, factor} and score.scale in ("percent", "unit"):
        right = sum(value == factor for value in values)
        return wilson_interval(right, len(values)).scaled(factor)
    return mean_interval(values)


def _of_group(
    score: Score, scores: Sequence[Score], clean: Mapping[tuple[str, str], Score]
) -> Score | None:
    """A group's score out of its tasks', put together as the group's own was."""
    parts = _parts(score, scores)
    weights = _weights(score, parts) if parts else None
    found = [clean.get((part.task, part.metric)) for part in parts]
    kept = [one for one in found if one is not None]
    if weights is None or len(kept) < len(parts):
        return None
    overlapping = sum(int(one.settings["overlapping"]) for one in kept)
    return _rescored(score, _together(kept, weights == "size"), overlapping)


def _parts(group: Score, scores: Sequence[Score]) -> list[Score]:
    """The scores of the tasks at the bottom of a group, of its metric."""
    groups = {one.settings.get("part_of") for one in scores}
    metric = group.metric.split(",")[0]
    return [
        one
        for one in scores
        if one.metric.split(",")[0] == metric
        and one.task not in groups
        and group.task in _wholes(one, scores)
    ]


def _together(parts: Sequence[Score], by_size: bool) -> Interval:
    """The mean over tasks, or over their items; a normal interval, as of the harness's groups."""
    weights = [size_of(one) if by_size else 1 for one in parts]
    pairs = list(zip(weights, parts, strict=True))
    total, n = sum(weights), sum(map(size_of, parts))
    value = math.fsum(weight * one.value for weight, one in pairs) / total
    if any(one.stderr is None for one in parts):
        return Interval(value, None, None, None, n)
    variance = math.fsum((weight * (one.stderr or 0.0)) ** 2 for weight, one in pairs)
    stderr = math.sqrt(variance) / total
    return Interval(value, stderr, value - Z95 * stderr, value + Z95 * stderr, n)


def _weights(score: Score, parts: Sequence[Score]) -> str | None:
    """Whether a group's value is the mean over its tasks' items, over its tasks, or neither."""
    items = sum(map(size_of, parts))
    if items and _is(score.value, sum(size_of(part) * part.value for part in parts) / items):
        return "size"
    if _is(score.value, sum(part.value for part in parts) / len(parts)):
        return "tasks"
    return None


def _wholes(score: Score, scores: Sequence[Score]) -> list[str]:
    """The groups that sum a task up, the next first."""
    above = {one.task: str(one.settings["part_of"]) for one in scores if "part_of" in one.settings}
    found: list[str] = []
    task = score.task
    while task in above and above[task] not in found:
        task = above[task]
        found.append(task)
    return found


def _rescored(score: Score, interval: Interval, overlapping: int) -> Score:
    if score.scale in _RANGES:
        interval = interval.clipped(*_RANGES[score.scale])
    made = measured(
        score.task, score.metric, interval, score.scale, higher_is_better=score.higher_is_better
    )
    return replace(made, settings={"overlapping": overlapping})


def _is(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
