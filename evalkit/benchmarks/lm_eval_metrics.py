"""Which metrics the harness's tasks report, read from their definitions alone.

Imported lazily: it needs lm_eval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY
from lm_eval.tasks._yaml_loader import load_yaml


def metric_names(tasks: Iterable[str], index: Mapping[str, Any]) -> set[str] | None:
    """Metrics of tasks, groups and tags, also with their filters; None where one is told by code.

    index: the harness's own, of all that it knows.
    """
    found: set[str] = set()
    for task in tasks:
        names = _of_entry(index[task], index) if task in index else None
        if names is None:
            return None
        found |= names
    return found


def _of_entry(entry: Any, index: Mapping[str, Any]) -> set[str] | None:
    kind = entry.kind.name
    if kind == "TASK" and entry.yaml_path is not None:
        return _of_definition(load_yaml(entry.yaml_path, resolve_func=False))
    if kind not in ("GROUP", "TAG"):
        return None
    members = entry.tags if kind == "TAG" else (entry.cfg or {}).get("task", ())
    if not members or not all(isinstance(member, str) for member in members):
        return None
    return metric_names(members, index)


def _of_definition(definition: Mapping[str, Any]) -> set[str]:
    """A metric is known by its name, and where a task reports it under several filters, by both."""
    listed = definition.get("metric_list")
    if listed is None:
        metrics = DEFAULT_METRIC_REGISTRY[definition.get("output_type", "generate_until")]
    else:
        metrics = [str(one["metric"]) for one in listed]
    filters = [str(one["name"]) for one in definition.get("filter_list") or ()]
    twins = filters if len(filters) > 1 else ()
    return {*metrics, *(f"{metric},{name}" for metric in metrics for name in twins)}
