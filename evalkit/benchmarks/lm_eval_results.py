"""Turns what lm-evaluation-harness returns into Scores, Samples and a portable raw file.

Imported lazily: it needs lm_eval.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lm_eval.api.metrics import pooled_sample_stderr, unweighted_mean_stderr

from evalkit.benchmarks.provenance import measured
from evalkit.errors import ScoreError
from evalkit.records import Sample, Scale, Score
from evalkit.stats import Interval, mean_interval, wilson_interval

HEADLINES = ("acc_norm", "exact_match", "acc")
_FIRST_FILTERS = ("strict-match", "none")
_PERCENT = frozenset(
    {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "f1", "mc1", "mc2"}
)
# Facts of the machine and the hour, not of the result.
_VOLATILE = frozenset(
    {
        "date",
        "git_hash",
        "pretty_env_info",
        "upper_git_hash",
        "samples",
        "total_evaluation_time_seconds",
    }
)
_VOLATILE_CONFIG = frozenset({"batch_size", "batch_sizes", "device", "use_cache", "model_args"})
_PROMPT_CHARACTERS = 2000


class Measure(NamedTuple):
    """One number of the harness: its key is `metric,filter`."""

    task: str
    metric: str
    filter: str

    @property
    def key(self) -> str:
        """The harness's own key."""
        return f"{self.metric},{self.filter}"


def scores_of(results: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Score]:
    """Every number of every task and group; the headlines of all tasks come first."""
    tasks = [name for name in results["results"] if name in results["configs"]]
    groups = [name for name in results["results"] if name not in results["configs"]]
    by_task: dict[str, list[Score]] = {}
    for task in tasks:
        by_task[task] = [_task_score(results, m, settings) for m in _measures(results, task)]
    for group in groups:
        by_task[group] = [
            _group_score(results, m, by_task, settings) for m in _measures(results, group)
        ]
    every = [scores for scores in by_task.values() if scores]
    return [s[0] for s in every] + [score for s in every for score in s[1:]]


def samples_of(results: Mapping[str, Any]) -> list[Sample]:
    """One Sample per document, its metrics on the scale of the scores."""
    return [
        sample
        for task, rows in results["samples"].items()
        for sample in _task_samples(task, rows, _measures(results, task))
    ]


def task_digests(
    results: Mapping[str, Any], parts: Sequence[str] = ("doc_hash", "prompt_hash", "target_hash")
) -> dict[str, str]:
    """sha256 over all documents of each task; with all `parts` it is the harness's `task_hashes`.

    Without `prompt_hash` it is the same for models with different chat templates.
    """
    return {
        task: hashlib.sha256("".join(row[p] for row in rows for p in parts).encode()).hexdigest()
        for task, rows in results["samples"].items()
    }


def portable(results: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
    """The harness's results file without times, hosts and folders."""
    kept = {key: value for key, value in results.items() if key not in _VOLATILE}
    kept["config"] = {
        key: value for key, value in results["config"].items() if key not in _VOLATILE_CONFIG
    }
    cleaned: dict[str, Any] = _cleaned({**kept, "task_hashes": task_digests(results), **facts})
    return cleaned


def _measures(results: Mapping[str, Any], task: str) -> list[Measure]:
    """The numbers of a task, its headline first, then as the harness lists them."""
    found = [
        Measure(task, *key.rsplit(",", 1))
        for key, value in results["results"][task].items()
        if "," in key and "_stderr," not in key and _is_scalar(value)
    ]
    return sorted(found, key=_headline_rank)


def _headline_rank(measure: Measure) -> tuple[int, int]:
    by_metric = {name: rank for rank, name in enumerate(HEADLINES)}
    by_filter = {name: rank for rank, name in enumerate(_FIRST_FILTERS)}
    return (
        by_metric.get(measure.metric, len(HEADLINES)),
        by_filter.get(measure.filter, len(_FIRST_FILTERS)),
    )


def _name(measure: Measure, measures: Sequence[Measure]) -> str:
    # The filter is part of the name only where a task reports one metric under several.
    twins = [other for other in measures if other.metric == measure.metric]
    return measure.metric if twins[0] == measure else measure.key


def _task_score(results: Mapping[str, Any], measure: Measure, settings: Mapping[str, Any]) -> Score:
    value = float(results["results"][measure.task][measure.key])
    rows = _rows(results, measure)
    values = _numbers(rows, measure)
    missing = len(rows) - len(values)
    scale = _scale(measure.metric, values)
    if not values and not math.isfinite(value):
        raise ScoreError(
            f"task {measure.task} gave no {measure.metric} for any of its {missing} items",
            "look at its responses and filters",
        )
    interval = _interval(value, values, missing)
    if scale == "percent":
        interval = interval.scaled(100).clipped(0, 100)
    return measured(
        measure.task,
        _name(measure, _measures(results, measure.task)),
        interval,
        scale,
        missing=missing,
        higher_is_better=_higher_is_better(results, measure),
        settings=_settings(results, measure, settings),
    )


def _interval(value: float, values: Sequence[float], missing: int) -> Interval:
    if not values:
        return Interval(value, None, None, None, 0)
    if set(values) <= {0.0, 1.0}:
        interval = wilson_interval(int(sum(values)), len(values))
    else:
        interval = mean_interval(values)
    if missing or math.isclose(interval.value, value, rel_tol=1e-9, abs_tol=1e-12):
        return interval
    # An aggregation that is no mean (perplexity, F1 over the corpus): no interval of ours.
    return Interval(value, None, None, None, len(values))


def _group_score(
    results: Mapping[str, Any],
    measure: Measure,
    by_task: Mapping[str, Sequence[Score]],
    settings: Mapping[str, Any],
) -> Score:
    leaves = _leaves(measure.task, results["group_subtasks"])
    parts = [
        score
        for leaf in leaves
        for score in by_task.get(leaf, ())
        if score.metric.split(",")[0] == measure.metric
        and score.settings["filter"] == measure.filter
    ]
    scale: Scale = parts[0].scale if parts else _scale(measure.metric, ())
    value = float(results["results"][measure.task][measure.key])
    value *= 100 if scale == "percent" else 1
    stderr = _group_stderr(value, parts)
    reach = None if stderr is None else 1.959963984540054 * stderr
    interval = Interval(
        value,
        stderr,
        None if reach is None else value - reach,
        None if reach is None else value + reach,
        sum(part.n for part in parts),
    )
    return measured(
        measure.task,
        _name(measure, _measures(results, measure.task)),
        interval.clipped(0, 100) if scale == "percent" else interval,
        scale,
        missing=sum(part.missing for part in parts),
        higher_is_better=_higher_is_better(results, measure),
        settings=_settings(results, measure, settings),
    )


def _group_stderr(value: float, parts: Sequence[Score]) -> float | None:
    errors = [part.stderr for part in parts if part.stderr is not None]
    if not parts or len(errors) != len(parts):
        return None
    sizes = [part.n for part in parts]
    pooled = sum(part.value * part.n for part in parts) / sum(sizes)
    if math.isclose(value, pooled, rel_tol=1e-9):
        return float(pooled_sample_stderr(errors, sizes))
    if math.isclose(value, sum(part.value for part in parts) / len(parts), rel_tol=1e-9):
        return float(unweighted_mean_stderr(errors))
    return None


def _leaves(group: str, members: Mapping[str, Sequence[str]]) -> list[str]:
    names = members.get(group)
    if names is None:
        return [group]
    return list(dict.fromkeys(leaf for name in names for leaf in _leaves(name, members)))


def _settings(
    results: Mapping[str, Any], measure: Measure, settings: Mapping[str, Any]
) -> dict[str, Any]:
    config = results["configs"].get(measure.task, {})
    found = {
        "few_shot": _few_shot(results, measure.task),
        "filter": measure.filter,
        "task_version": str(results["versions"].get(measure.task)),
        **settings,
    }
    if config.get("output_type") == "generate_until":
        arguments = config.get("generation_kwargs") or {}
        found["temperature"] = float(arguments.get("temperature", 0.0) or 0.0)
        if arguments.get("do_sample") is False:
            found["temperature"] = 0.0
    return found


def _few_shot(results: Mapping[str, Any], task: str) -> int | None:
    """What all tasks of a group have in common; the harness leaves it out of groups of groups."""
    numbers = {results["n-shot"].get(leaf) for leaf in _leaves(task, results["group_subtasks"])}
    return numbers.pop() if len(numbers) == 1 else None


def _task_samples(
    task: str, rows: Sequence[Mapping[str, Any]], measures: Sequence[Measure]
) -> list[Sample]:
    merged: dict[int, dict[str, float]] = {}
    details: dict[int, dict[str, Any]] = {}
    # Whether a metric is a percentage is a matter of all its documents, hence decided first.
    factors = {
        m: 100.0 if _scale(m.metric, _numbers(rows, m)) == "percent" else 1.0 for m in measures
    }
    for row in rows:
        identity = row["doc_id"]
        metrics = merged.setdefault(identity, {})
        details.setdefault(identity, _detail(row))
        for measure in measures:
            if row["filter"] == measure.filter and _is_number(row.get(measure.metric)):
                value = float(row[measure.metric]) * factors[measure]
                metrics[_name(measure, measures)] = value
    return [Sample(str(i), task, merged[i], details[i]) for i in sorted(merged)]


def _detail(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader needs to see why: prompt (its end), target, and what the model said."""
    prompt = str(row["arguments"][0][0])
    responses = [repeats[0] for repeats in row["resps"]]
    detail: dict[str, Any] = {
        "prompt": prompt[-_PROMPT_CHARACTERS:],
        "target": _cleaned(row["target"]),
    }
    if responses and isinstance(responses[0], tuple | list):
        detail["choices"] = [str(arguments[1]) for arguments in row["arguments"]]
        detail["logps"] = [float(response[0]) for response in responses]
        detail["greedy"] = [bool(response[1]) for response in responses]
    else:
        detail["response"] = _cleaned(responses[0]) if responses else None
    return detail


def _rows(results: Mapping[str, Any], measure: Measure) -> list[Mapping[str, Any]]:
    return [row for row in results["samples"][measure.task] if row["filter"] == measure.filter]


def _numbers(rows: Sequence[Mapping[str, Any]], measure: Measure) -> list[float]:
    return [float(row[measure.metric]) for row in rows if _is_number(row.get(measure.metric))]


def _is_number(value: Any) -> bool:
    return _is_scalar(value) and math.isfinite(float(value))


def _is_scalar(value: Any) -> bool:
    # NaN included: one item without a score makes a whole mean of the harness NaN.
    try:
        return not isinstance(value, str) and isinstance(float(value), float)
    except (TypeError, ValueError):
        return False


def _scale(metric: str, values: Sequence[float]) -> Scale:
    if metric in _PERCENT or metric.endswith("_acc"):
        return "percent"
    return "unit" if values and all(0 <= value <= 1 for value in values) else "ratio"


def _higher_is_better(results: Mapping[str, Any], measure: Measure) -> bool:
    known = results["higher_is_better"].get(measure.task) or {}
    return bool(known.get(measure.metric) is not False)


def _cleaned(value: Any) -> Any:
    """Plain JSON values; folders of this machine are cut off paths."""
    if isinstance(value, Mapping):
        return {str(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_cleaned(item) for item in value]
    if isinstance(value, str):
        return _without_folder(value)
    if value is None or isinstance(value, bool | int):
        return value
    if _is_number(value):
        return float(value)
    return _without_folder(str(value))


def _without_folder(text: str) -> str:
    path = text.removeprefix("file://")
    is_path = os.path.isabs(path) and "\n" not in path and os.path.exists(path)
    return os.path.basename(path.rstrip("/")) if is_path else text


def dumped(value: Any) -> str:
    """Indented JSON of a portable results file, its keys sorted."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
