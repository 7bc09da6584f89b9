"""One column of a leaderboard: which score of a model, or the mean of which, it shows."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field

from evalkit import resources
from evalkit.family import Member
from evalkit.metrics.combined import Z95, Errors, Value, Weights, combined
from evalkit.records import ResultSet, Score


class Closed(BaseModel):
    """A part of a definition: no key but its own, and no change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class IndexDataset(Closed):
    """The `dataset` of a conventional `model-index` entry."""

    name: str
    type: str
    config: str | None = None
    split: str | None = None
    args: dict[str, Any] = Field(default_factory=dict)


class IndexMetric(Closed):
    """The `metrics` item of a conventional `model-index` entry, without its value."""

    type: str
    name: str | None = None


class IndexEntry(Closed):
    """How the field writes a score in `model-index`, where it has a convention.

    n: how many items the whole test has, where its column does not ask for them.
    """

    dataset: IndexDataset
    metric: IndexMetric
    n: int | None = Field(None, ge=1)


class Part(Closed):
    """A score that a column is made of. guessing: what chance gives, 0 to 1; it is shown as 0."""

    task: str
    metric: str
    guessing: float = Field(0.0, ge=0, lt=1)


class Found(NamedTuple):
    """A column's score of a model, and the result set that it, or its first part, stands in."""

    score: Score
    result: ResultSet


class Column(Closed):
    """One number per model.

    task: its name; `*` stands for any edition (`mt_bench_pocket*`).
    settings: what a score's settings must hold to belong here (`few_shot: 25`).
    decimals: of the value and its interval; default by scale.
    n: how many items the whole test set has; a score of other items does not belong here.
    parts: the scores it is the mean of, weighted alike or by their items; none: one score is meant.
        Each is normalised by its `guessing`, and the mean by the column's.
    errors: how those of the parts depend on each other, see `metrics.combined`.
    """

    benchmark: str
    task: str
    metric: str
    label: str = ""
    decimals: int | None = Field(None, ge=0, le=6)
    settings: dict[str, Any] = Field(default_factory=dict)
    n: int | None = Field(None, ge=1)
    parts: tuple[Part, ...] = ()
    weights: Weights = "equal"
    guessing: float = Field(0.0, ge=0, lt=1)
    errors: Errors = "independent"
    model_index: IndexEntry | None = None

    @property
    def heading(self) -> str:
        """Task and metric, for people."""
        return self.label or f"{label('tasks', self.task)}: {label('metrics', self.metric)}"

    def score_of(self, member: Member) -> Score | None:
        """The member's score for this column, None where it was not measured like this."""
        found = self.found(member)
        return None if found is None else found.score

    def found(self, member: Member) -> Found | None:
        """The same, with the result set that it comes from."""
        made_of = self.made_of(member)
        if not self.parts or not made_of:
            return next(iter(made_of), None)
        score = self._combined([one.score for one in made_of])
        return Found(score, made_of[0].result) if self._whole(score) else None

    def made_of(self, member: Member) -> tuple[Found, ...]:
        """The scores that the member's number is made of: one, or one for each part."""
        results = [result for result in member.results if result.benchmark == self.benchmark]
        if self.parts:
            return self._parts_of(results)
        every = (Found(score, result) for result in results for score in result.scores)
        return tuple(one for one in every if self.admits(one.score))[:1]

    def admits(self, score: Score) -> bool:
        """Whether a score of this benchmark is what the column means, settings included."""
        named = self.covers(score.task) and score.metric == self.metric and not self.parts
        return named and self._alike(score) and self._whole(score)

    def covers(self, task: str) -> bool:
        """Whether a task of this name is the column's, or a part of it."""
        return fnmatchcase(task, self.task) or any(part.task == task for part in self.parts)

    def _alike(self, score: Score) -> bool:
        return all(score.settings.get(key) == value for key, value in self.settings.items())

    def _whole(self, score: Score) -> bool:
        standard = not score.settings.get("not_comparable")
        counted = score.n is not None and score.n + score.missing == self.n
        return self.n is None or (counted and standard)

    def _parts_of(self, results: Sequence[ResultSet]) -> tuple[Found, ...]:
        """A score for each part, measured alike; none where one of them is missing."""
        every = {
            (score.task, score.metric): Found(score, result)
            for result in reversed(results)
            for score in result.scores
            if self._alike(score)
        }
        found = [every[key] for part in self.parts if (key := (part.task, part.metric)) in every]
        weighed = self.weights == "items" or self.errors == "nested"
        if weighed and any(one.score.n is None for one in found):
            return ()
        return tuple(found) if len(found) == len(self.parts) else ()

    def _combined(self, scores: Sequence[Score]) -> Score:
        """The mean of the parts."""
        guessing = [part.guessing for part in self.parts]
        mean = combined(scores, guessing, self.weights, self.errors)
        return _of_parts(self, mean.normalised(self.guessing), scores)


def _of_parts(column: Column, value: Value, scores: Sequence[Score]) -> Score:
    """The score of a column that is made of these; its settings are what they have in common."""
    common = {
        key: stated
        for key, stated in scores[0].settings.items()
        if all(score.settings.get(key) == stated for score in scores)
    }
    reach = None if value.stderr is None else Z95 * value.stderr
    reasons = dict.fromkeys(filter(None, (s.settings.get("not_comparable") for s in scores)))
    if reasons:
        common["not_comparable"] = "; ".join(map(str, reasons))
    counted = scores[:1] if column.errors == "same items" else scores
    sizes = [score.n for score in counted]
    return Score(
        task=column.task,
        metric=column.metric,
        value=value.value,
        n=None if None in sizes else sum(filter(None, sizes)),
        scale="percent",
        stderr=value.stderr,
        ci_low=None if reach is None else max(0.0, value.value - reach),
        ci_high=None if reach is None else min(100.0, value.value + reach),
        missing=sum(score.missing for score in counted),
        settings={key: fact for key, fact in common.items() if key not in ("part_of", "filter")},
    )


def label(kind: str, name: str) -> str:
    """What a benchmark, task, metric or scale is called in cards and tables."""
    known = _labels().get(kind, {})
    if name in known or kind != "tasks":
        return known.get(name, name)
    for suite, called in _labels()["benchmarks"].items():  # `mt_bench_pocket`: suite and edition
        if name.startswith(f"{suite}_"):
            return f"{called} ({name.removeprefix(f'{suite}_')})"
    return name


@cache
def _labels() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load(resources.template("labels.yaml"))
    return found
