"""How lm-evaluation-harness names, ranks and scales its numbers: of live results and of its files.

Source: EleutherAI/lm-evaluation-harness, evaluator.py and evaluator_utils.py (release 0.4.13).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from evalkit.records import Scale

_LARGEST = 1e300  # beyond it, squares and percentages are no numbers any more
HEADLINES = ("acc_norm", "exact_match", "acc")
_FIRST_FILTERS = ("strict-match", "none")
_PERCENT = frozenset(
    {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "f1", "mc1", "mc2"}
)


class Measure(NamedTuple):
    """One number of the harness: its key is `metric,filter`."""

    task: str
    metric: str
    filter: str

    @property
    def key(self) -> str:
        """The harness's own key."""
        return f"{self.metric},{self.filter}"


def measures_of(results: Mapping[str, Any], task: str) -> list[Measure]:
    """The numbers of a task, its headline first, then as the harness lists them."""
    found = [
        Measure(task, *key.rsplit(",", 1))
        for key, value in results["results"][task].items()
        if "," in key and "_stderr," not in key and is_scalar(value)
    ]
    return sorted(found, key=_headline_rank)


def measure_name(measure: Measure, measures: Sequence[Measure]) -> str:
    """The metric; its filter is part of the name only where a task reports it under several."""
    twins = [other for other in measures if other.metric == measure.metric]
    return measure.metric if twins[0] == measure else measure.key


def scale_of(metric: str, values: Sequence[float]) -> Scale:
    """The scale that a metric is shown on; `values` are those of its items, where known."""
    if metric in _PERCENT or metric.endswith("_acc"):
        return "percent"
    return "unit" if values and all(0 <= value <= 1 for value in values) else "ratio"


def higher_is_better(results: Mapping[str, Any], measure: Measure) -> bool:
    """As the task says it; true where it says nothing."""
    known = results["higher_is_better"].get(measure.task) or {}
    return bool(known.get(measure.metric) is not False)


def leaves_of(group: str, members: Mapping[str, Sequence[str]]) -> list[str]:
    """The tasks at the bottom of a group, each once; a task is its own only leaf."""
    names = members.get(group)
    if not names:
        return [group]
    return list(dict.fromkeys(leaf for name in names for leaf in leaves_of(name, members)))


def few_shot_of(results: Mapping[str, Any], task: str) -> int | None:
    """What all tasks of a group have in common; the harness leaves it out of groups of groups."""
    shots = {results["n-shot"].get(leaf) for leaf in leaves_of(task, results["group_subtasks"])}
    return shots.pop() if len(shots) == 1 else None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of the harness is a finite number."""
    return is_scalar(value) and math.isfinite(float(value)) and abs(float(value)) < _LARGEST


def is_scalar(value: Any) -> bool:
    """Whether a value of the harness is a number, NaN included: one item makes a mean NaN."""
    try:
        return not isinstance(value, str) and isinstance(float(value), float)
    except (TypeError, ValueError, OverflowError):
        return False


def _headline_rank(measure: Measure) -> tuple[int, int]:
    by_metric = {name: rank for rank, name in enumerate(HEADLINES)}
    by_filter = {name: rank for rank, name in enumerate(_FIRST_FILTERS)}
    return (
        by_metric.get(measure.metric, len(HEADLINES)),
        by_filter.get(measure.filter, len(_FIRST_FILTERS)),
    )
