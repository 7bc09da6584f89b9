"""Evaluation results in a card's metadata, beyond their shape: doubled, merged, unsortable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.card_schema.fault import Fault, KeyPath
from evalkit.card_schema.schema import shown


def result_faults(metadata: Mapping[Any, Any]) -> Iterator[Fault]:
    """What is wrong with the results of `model-index`, as far as they have their shape."""
    entries = metadata.get("model-index")
    if not isinstance(entries, list | tuple):
        return
    if len(entries) > 1:
        message = "a second model: readers take both for one, of the last name"
        fix = "give one entry, and the other model's results in its own card"
        yield Fault(("model-index", 1), "results", message, fix, "warning")
    seen: dict[str, tuple[KeyPath, Any]] = {}
    groups: dict[str, str] = {}
    for path, result in _results(entries):
        yield from _merged(path, result, groups)
        for number, metric in enumerate(result["metrics"]):
            if isinstance(metric, Mapping):
                yield from _metric((*path, "metrics", number), metric, _said(result), seen)


def _results(entries: Any) -> Iterator[tuple[KeyPath, Mapping[Any, Any]]]:
    for number, entry in enumerate(entries):
        results = entry.get("results") if isinstance(entry, Mapping) else None
        for place, result in enumerate(results if isinstance(results, list | tuple) else ()):
            if (
                isinstance(result, Mapping)
                and isinstance(result.get("task"), Mapping)
                and isinstance(result.get("dataset"), Mapping)
                and isinstance(result.get("metrics"), list | tuple)
            ):
                yield ("model-index", number, "results", place), result


def _merged(path: KeyPath, result: Mapping[Any, Any], groups: dict[str, str]) -> Iterator[Fault]:
    """Results that huggingface_hub takes for one, so that a name and settings are lost.

    Source: huggingface_hub 1.33, repocard_data.py, `EvalResult.unique_identifier`.
    """
    dataset = result["dataset"]
    alike = [result["task"].get("type")] + [
        dataset.get(key) for key in ("type", "config", "split", "revision")
    ]
    told = _text([dataset.get("name"), dataset.get("args")])
    first = groups.setdefault(_text(alike), told)
    if first != told:
        message = "readers merge it with an earlier result of the same dataset, config and split"
        fix = "give it a config of its own; what is said in name and args is lost otherwise"
        yield Fault((*path, "dataset"), "results", message, fix, "warning")


def _metric(
    path: KeyPath, metric: Mapping[Any, Any], said: str, seen: dict[str, tuple[KeyPath, Any]]
) -> Iterator[Fault]:
    value = metric.get("value")
    if type(value) is str:
        message = f"the value is text, {shown(value)}"
        yield Fault((*path, "value"), "results", message, "give a number", "warning")
    if metric.get("verified") is True and type(metric.get("verifyToken")) is not str:
        message = "'verified' is for the Hub to say, with a token"
        yield Fault((*path, "verified"), "results", message, "take it out", "warning")
    what = _text([said] + [metric.get(key) for key in ("type", "name", "config", "args")])
    first = seen.setdefault(what, (path, value))
    if first[0] == path:
        return
    name = shown(metric.get("type"))
    if _text([value]) == _text([first[1]]):
        message = f"the result {name} stands twice"
        yield Fault(path, "duplicate", message, "take one out", "warning")
    else:
        message = f"the result {name} stands twice, as {shown(first[1])} and as {shown(value)}"
        yield Fault(path, "duplicate", message, "take the wrong one out")


def _said(result: Mapping[Any, Any]) -> str:
    source = result.get("source")
    url = source.get("url") if isinstance(source, Mapping) else None
    return _text([result["task"].get("type"), result["dataset"], url])


def _text(values: Any) -> str:
    """Values as text that is equal for equal ones, whatever they are."""
    try:
        return json.dumps(values, sort_keys=True, default=str)
    except (ValueError, TypeError, RecursionError):
        return repr([shown(value) for value in values])
