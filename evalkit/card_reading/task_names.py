"""Which task and metric is meant by what a card writes: "ARC (25-shot)", "LC. Win Rate".

The names are data (`templates/task_names.yaml`, `templates/labels.yaml`); a card's own
model-index adds those of its own tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any, Literal

from evalkit import resources
from evalkit.card_reading.tables import plain
from evalkit.records import Scale

ColumnKind = Literal["own", "model", "task", "shots", "metric", "spread", "size", "other"]
Need = Literal["shots", "judge"]
AVERAGE = "average"
_LONGEST = 300  # characters of a name, its markup included

_BRACKETS = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]")
_SHOTS = re.compile(r"\b(\d+)[-\s]?shots?\b(?:\s+(?:learning|setting))?|\b(zero)[-\s]?shot\b", re.I)
_FILTER = re.compile(r"strict[-\s]?match|flexible[-\s]?extract", re.I)
_UNIT = re.compile(
    r"%|percent|\d+\s*(?:to|-|–)\s*\d+|n\s*=\s*[\d,]+|[\d,]+ missing|↑|↓|(?:higher|lower) is better"
    r"|95\s*%(?: ci)?|",
    re.I,
)
_ORNAMENTS = re.compile(r"[%↑↓⬆⬇️:]+\s*$")
_NO_LETTERS = re.compile(r"[^\w+]|_")
_BLANKS = re.compile(r"[\s:/,]+")
_LEADERBOARD = re.compile(r"open[\s_-]?llm(?:[\s_-]leaderboard)?", re.I)
_EDITION = re.compile(r"\s*[12]\b(?!\.\d)|.{0,24}?\b(?:version|v)[\s.]*[12]\b(?!\.\d)", re.I)


@dataclass(frozen=True)
class Name:
    """What a name means. task: None where only a metric is named; settings: `few_shot`, `filter`.

    kind: `average` of other scores, `recovery` of a variant against another model, or a score.
    """

    task: str | None = None
    metric: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["score", "average", "recovery"] = "score"


@dataclass(frozen=True)
class Vocabulary:
    """Names by their letters: of tasks, metrics, averages, recoveries and columns.

    facts: of each task, as in the data. in_prose: finds the names of tasks in a sentence, and of
        metrics with more than one word.
    """

    tasks: Mapping[str, str]
    metrics: Mapping[str, str]
    averages: frozenset[str]
    recoveries: frozenset[str]
    columns: Mapping[ColumnKind, frozenset[str]]
    facts: Mapping[str, Mapping[str, Any]]
    metric_scales: Mapping[str, Scale | None]
    leaderboards: Mapping[str, tuple[str, ...]]
    in_prose: re.Pattern[str]

    def name_of(self, text: str) -> Name | None:
        """What a heading or label names; None unless every part of it is understood."""
        if len(text) > _LONGEST:
            return None
        text = plain(text)
        whole = self._known(_ORNAMENTS.sub("", text))
        if whole is not None:
            return whole
        settings: dict[str, Any] = {}
        metric = None
        for note in _notes(text):
            if self.metrics.get(letters(note)):
                metric = self.metrics[letters(note)]
            elif not _note_of(note, settings):
                return None
        base = _BRACKETS.sub(" ", text)
        _note_of(base, settings)
        base = _ORNAMENTS.sub("", _SHOTS.sub(" ", base).strip(" -–,"))
        found = self._known(base) or self._task_and_metric(base)
        if found is None or (metric and found.kind != "score"):
            return None
        return replace(found, metric=found.metric or metric, settings=settings)

    def is_column(self, kind: ColumnKind, text: str) -> bool:
        """Whether a heading is one of columns that hold this."""
        text = letters(_BRACKETS.sub("", plain(text))) or plain(text)
        return text in self.columns[kind]

    def scale(self, task: str | None, metric: str | None) -> Scale:
        """What a score is on where it is not written as a part of 1."""
        known = self.metric_scales.get(metric or "")
        return known or self.facts.get(task or "", {}).get("scale", "percent")

    def needs(self, task: str) -> Need | None:
        """What a score of this task says nothing without."""
        need: Need | None = self.facts.get(task, {}).get("needs")
        return need

    def with_tasks(self, names: Mapping[str, str]) -> Vocabulary:
        """The same with a card's own names of tasks; those already known keep their meaning."""
        own = {letters(name): task for name, task in names.items() if self.name_of(name) is None}
        return replace(self, tasks={**own, **self.tasks}) if own else self

    def _known(self, text: str) -> Name | None:
        key = letters(text)
        if key in self.averages:
            return Name(AVERAGE, kind="average")
        if key in self.recoveries:
            return Name(kind="recovery")
        if key in self.tasks:
            return Name(self.tasks[key])
        return Name(metric=self.metrics[key]) if key in self.metrics else None

    def _task_and_metric(self, text: str) -> Name | None:
        words = [word for word in _BLANKS.split(text) if word not in ("", "-", "–")]
        for at in range(1, len(words)):
            left, right = letters(" ".join(words[:at])), letters(" ".join(words[at:]))
            for task, metric in ((left, right), (right, left)):
                if task in self.tasks and metric in self.metrics:
                    return Name(self.tasks[task], self.metrics[metric])
        return None


@cache
def shipped() -> Vocabulary:
    """The names that ship with evalkit."""
    data = resources.template_data("task_names.yaml")
    labels = resources.template_data("labels.yaml")
    metrics = {name: _names(name, fact) for name, fact in data["metrics"].items()}
    tasks = {name: _names(name, fact) for name, fact in data["tasks"].items()}
    return Vocabulary(
        tasks=_by_letters(tasks, labels["tasks"]),
        metrics=_by_letters(metrics, labels["metrics"]),
        averages=frozenset(map(letters, data["averages"])),
        recoveries=frozenset(map(letters, data["recoveries"])),
        columns={
            kind: frozenset(letters(name) or name for name in names)
            for kind, names in data["columns"].items()
        },
        facts=data["tasks"],
        metric_scales={name: fact.get("scale") for name, fact in data["metrics"].items()},
        leaderboards={name: tuple(tasks) for name, tasks in data["leaderboards"].items()},
        in_prose=_in_prose(tasks, metrics, data),
    )


@lru_cache(maxsize=8192)
def letters(text: str) -> str:
    """A name without what people write differently: capitals, blanks, punctuation."""
    return _NO_LETTERS.sub("", text.casefold())


def shots_in(text: str) -> int | None:
    """How many examples a text says a task was asked with."""
    mark = _SHOTS.search(text)
    return None if mark is None else 0 if mark[2] else int(mark[1])


def leaderboard_in(text: str) -> str | None:
    """Which Open LLM Leaderboard a text names; `open_llm` where it does not say which."""
    text = plain(text)
    mark = _LEADERBOARD.search(text)
    edition = mark and _EDITION.match(text, mark.end())
    return None if mark is None else f"open_llm_v{edition[0][-1]}" if edition else "open_llm"


def _notes(text: str) -> Iterator[str]:
    for round_brackets, square in _BRACKETS.findall(text):
        yield from (note.strip() for note in (round_brackets or square).split(","))


def _note_of(note: str, settings: dict[str, Any]) -> bool:
    """Whether a note beside a name is understood; what it says of the task is added."""
    shots, filtered = shots_in(note), _FILTER.search(note)
    if shots is not None:
        settings["few_shot"] = shots
    if filtered:
        is_strict = filtered[0].lower().startswith("strict")
        settings["filter"] = "strict-match" if is_strict else "flexible-extract"
    if letters(note) in ("cot", "chainofthought"):
        settings["chain_of_thought"] = True
        return True
    return bool(shots is not None or filtered or _UNIT.fullmatch(note))


def _in_prose(
    tasks: Mapping[str, tuple[str, ...]],
    metrics: Mapping[str, tuple[str, ...]],
    data: Mapping[str, Any],
) -> re.Pattern[str]:
    averages = set(map(letters, data["averages"]))
    spoken = {name for names in metrics.values() for name in names if " " in name}
    spoken = {name for name in spoken if letters(name) not in averages}
    words = {word.casefold() for word in data["words"]} - set(data["words"])
    names = ({name for of in tasks.values() for name in of} | spoken) - words
    ordered = sorted(names, key=len, reverse=True)
    parts = [_loosely(name, exactly=name in data["words"]) for name in ordered]
    return re.compile(rf"(?<![\w/-])(?:{'|'.join(parts)})(?!\w|-\w|/\w)")


def _loosely(name: str, exactly: bool) -> str:
    """A name however its words are joined, and unless `exactly` in capitals or not."""
    words = [re.escape(word) for word in re.split(r"[\s._-]+", name) if word]
    joined = r"[\s._-]*".join(words) + (r"\.?" if name.endswith(".") else "")
    return joined if exactly else f"(?i:{joined})"


def _names(name: str, fact: Mapping[str, Any]) -> tuple[str, ...]:
    return (name, *fact["names"])


def _by_letters(named: Mapping[str, tuple[str, ...]], labels: Mapping[str, str]) -> dict[str, str]:
    found = {letters(label): name for name, label in labels.items()}
    found |= {letters(name): name for name in labels}
    return found | {letters(one): name for name, names in named.items() for one in names}
