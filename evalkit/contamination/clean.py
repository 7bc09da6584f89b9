"""Scores once more, over the items that no training text overlaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from evalkit.metrics.score import measured
from evalkit.records import ResultSet, Score
from evalkit.stats import Interval, mean_interval, wilson_interval

_NORMAL_95 = 1.959963984540054
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
    parts = [
        one
        for one in scores
        if one.metric.split(",")[0] == score.metric.split(",")[0]
        and score.task in _wholes(one, scores)
        and not any(other.settings.get("part_of") == one.task for other in scores)
    ]
    kept = [clean.get((part.task, part.metric)) for part in parts]
    if not parts or any(one is None and part.n for one, part in zip(kept, parts, strict=True)):
        return None
    weights = _weights(score, parts)
    if weights is None:
        return None
    cleaned = [one for one in kept if one is not None]
    by_size = weights == "size"
    shares = [one.n if by_size else 1 for one in cleaned]
    value = sum(s * one.value for s, one in zip(shares, cleaned, strict=True)) / sum(shares)
    errors = [one.stderr for one in cleaned]
    total = sum(shares)
    stderr = None
    if all(error is not None for error in errors):
        pairs = zip(shares, errors, strict=True)
        stderr = math.sqrt(sum((s * (error or 0.0)) ** 2 for s, error in pairs)) / total
    reach = None if stderr is None else _NORMAL_95 * stderr
    low, high = (None, None) if reach is None else (value - reach, value + reach)
    n = sum(one.n for one in cleaned)
    hits = sum(int(one.settings["overlapping"]) for one in cleaned)
    return _rescored(score, Interval(value, stderr, low, high, n), hits)


def _weights(score: Score, parts: Sequence[Score]) -> str | None:
    """Whether a group's value is the mean over its tasks' items, over its tasks, or neither."""
    items = sum(part.n for part in parts)
    if items and _is(score.value, sum(part.n * part.value for part in parts) / items):
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
