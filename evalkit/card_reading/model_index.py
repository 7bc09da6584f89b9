"""The figures of a card's model-index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.card_reading.document import Document
from evalkit.card_reading.figure import Figure
from evalkit.card_reading.model_names import OwnNames, Subject
from evalkit.card_reading.numbers import Written, number_of
from evalkit.card_reading.surroundings import Surroundings
from evalkit.card_reading.task_names import Name, Vocabulary, leaderboard_in

# What keys of a card's arguments are called in settings.
_SETTINGS = {"num_few_shot": "few_shot", "num_fewshot": "few_shot", "annotator": "judge"}
_VALUE = re.compile(r"\bvalue['\"]?\s*:\s*['\"]?([^\s#,}'\"]+)")
_Path = tuple[str | int, ...]


def index_figures(around: Surroundings, own: OwnNames) -> Iterator[Figure]:
    """All figures in order; an entry without a name is the card's own model."""
    lines = {line.number: line.text for line in around.card.lines}
    for at, entry in enumerate(_entries(around.card)):
        name = str(entry.get("name") or "")
        subject = own.subject(name) if name else Subject("", is_own=True)
        path: _Path = ("model-index", at, "results")
        found = [
            figure
            for number, result in enumerate(_list(entry.get("results")))
            if isinstance(result, Mapping)
            for figure in _figures(around, subject, result, (*path, number), lines)
        ]
        boards = {board for one in found if (board := leaderboard_in(one.settings["source"]))}
        yield from around.settled(found, boards.pop() if len(boards) == 1 else None)


def tasks_of(card: Document) -> dict[str, str]:
    """What a card's model-index calls its tasks -> their types, which are our own cards' tasks."""
    found = {}
    for entry in _entries(card):
        for result in _list(entry.get("results")):
            dataset = _mapping(result).get("dataset")
            name, kind = _mapping(dataset).get("name"), _mapping(dataset).get("type")
            if isinstance(name, str) and isinstance(kind, str) and "/" not in kind:
                found[name] = kind
    return found


def _figures(
    around: Surroundings,
    subject: Subject,
    result: Mapping[str, Any],
    path: _Path,
    lines: Mapping[int, str],
) -> Iterator[Figure]:
    dataset = _mapping(result.get("dataset"))
    task = _task(dataset, around.vocabulary)
    for at, metric in enumerate(_list(result.get("metrics"))):
        line = around.card.key_line(*path, "metrics", at, "value")
        number = _number(_mapping(metric).get("value"), lines.get(line, ""))
        if task is None or number is None:
            continue
        kind = _metric(metric, around.vocabulary, task.metric)
        arguments = _mapping(dataset.get("args")) | _mapping(metric.get("args"))
        yield Figure(
            line=line,
            text=number.text,
            value=number.value,
            decimals=number.decimals,
            model=None if subject.is_own else subject.name,
            task=task.task or "",
            metric=kind,
            where="metadata",
            settings={**_settings(result, arguments), **task.settings},
            scale=around.vocabulary.scale(task.task, kind),
            has_spread=any("stderr" in key or "interval" in key for key in arguments),
        )


def _task(dataset: Mapping[str, Any], vocabulary: Vocabulary) -> Name | None:
    for key in ("name", "type"):
        name = vocabulary.name_of(str(dataset.get(key) or ""))
        if name is not None and name.task:
            return name
    return None


def _metric(metric: Mapping[str, Any], vocabulary: Vocabulary, of_task: str | None) -> str | None:
    """The metric as others call it, else by its type as written; some write the task there."""
    names = [vocabulary.name_of(str(metric.get(key) or "")) for key in ("type", "name")]
    for name in names:
        if name is not None and (name.metric or name.kind == "average"):
            return name.metric or "average"
    return of_task if any(names) else str(metric.get("type") or "") or of_task


def _settings(result: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    source = _mapping(result.get("source"))
    said = " ".join(str(source.get(key) or "") for key in ("name", "url")).strip()
    return {**{_SETTINGS.get(key, key): value for key, value in arguments.items()}, "source": said}


def _number(value: Any, line: str) -> Written | None:
    """A value as it is written in its line, which YAML's reader forgets: 7.30 is not 7.3."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    mark = _VALUE.search(line)
    written = number_of(mark[1]) if mark else None
    read = number_of(value if isinstance(value, str) else _digits(value))
    return written if written and read and written.value == read.value else read


def _digits(value: float) -> str:
    """A number without an exponent, which `repr` has for very small and large ones."""
    shown = repr(value)
    return f"{value:.17f}".rstrip("0") if "e-" in shown else shown


def _entries(card: Document) -> Iterator[Mapping[str, Any]]:
    yield from (one for one in _list(card.metadata.get("model-index")) if isinstance(one, Mapping))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): one for key, one in value.items()} if isinstance(value, Mapping) else {}
