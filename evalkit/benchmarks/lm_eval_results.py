"""Turns what lm-evaluation-harness returns into Scores, Samples and a portable raw file.

Imported lazily: it needs lm_eval.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lm_eval.api.metrics import pooled_sample_stderr, unweighted_mean_stderr

from evalkit.benchmarks.provenance import measured
from evalkit.errors import ScoreError
from evalkit.metrics.combined import Z95, size_of
from evalkit.metrics.harness import (
    Measure,
    few_shot_of,
    higher_is_better,
    is_number,
    leaves_of,
    measure_name,
    measures_of,
    scale_of,
)
from evalkit.records import Sample, Scale, Score
from evalkit.stats import Interval, clustered_mean_interval, mean_interval, wilson_interval

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


def scores_of(results: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Score]:
    """Every number of every task and group; the headlines of all tasks come first."""
    tasks = [name for name in results["results"] if name in results["configs"]]
    groups = [name for name in results["results"] if name not in results["configs"]]
    by_task: dict[str, list[Score]] = {}
    for task in tasks:
        by_task[task] = [_task_score(results, m, settings) for m in measures_of(results, task)]
    for group in groups:
        by_task[group] = [
            _group_score(results, m, by_task, settings) for m in measures_of(results, group)
        ]
    by_task = {task: _told_as_parts(results, groups, s) for task, s in by_task.items()}
    every = [scores for scores in by_task.values() if scores]
    return [s[0] for s in every] + [score for s in every for score in s[1:]]


def _told_as_parts(
    results: Mapping[str, Any], groups: Sequence[str], scores: Sequence[Score]
) -> list[Score]:
    """The scores of a task, with `part_of` in their settings if a group sums it up."""
    members = results["group_subtasks"]
    task = scores[0].task if scores else ""
    wholes = [g for g in groups if g != task and task in members.get(g, ())]
    if not wholes:
        return list(scores)
    return [replace(s, settings={**s.settings, "part_of": wholes[0]}) for s in scores]


def samples_of(results: Mapping[str, Any]) -> list[Sample]:
    """One Sample per document, its metrics on the scale of the scores."""
    return [
        sample
        for task, rows in results["samples"].items()
        for sample in _task_samples(task, rows, measures_of(results, task))
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


def _task_score(results: Mapping[str, Any], measure: Measure, settings: Mapping[str, Any]) -> Score:
    value = float(results["results"][measure.task][measure.key])
    items = [_parts(row.get(measure.metric)) for row in _rows(results, measure)]
    values = [part for parts in items for part in parts]
    missing = sum(not parts for parts in items)
    scale = scale_of(measure.metric, values)
    if not values and not math.isfinite(value):
        raise ScoreError(
            f"task {measure.task} gave no {measure.metric} for any of its {missing} items",
            "look at its responses and filters",
        )
    whole = all(len(parts) <= 1 for parts in items)
    interval = _interval(value, values, missing) if whole else _interval_of_parts(value, items)
    if scale == "percent":
        interval = interval.scaled(100).clipped(0, 100)
    return measured(
        measure.task,
        measure_name(measure, measures_of(results, measure.task)),
        interval,
        scale,
        missing=missing,
        higher_is_better=higher_is_better(results, measure),
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


def _parts(value: Any) -> tuple[float, ...]:
    """What an item counts in a mean: once, or for each of its parts (IFEval's instructions)."""
    given = value if isinstance(value, list | tuple) else [value]
    return tuple(float(one) for one in given if is_number(one))


def _interval_of_parts(value: float, items: Sequence[tuple[float, ...]]) -> Interval:
    """Of a mean over parts of items; what is drawn anew is items."""
    values = [part for parts in items for part in parts]
    places = [str(place) for place, parts in enumerate(items) for _ in parts]
    found = clustered_mean_interval(values, places)._replace(n=sum(map(bool, items)))
    if math.isclose(found.value, value, rel_tol=1e-9, abs_tol=1e-12):
        return found
    return Interval(value, None, None, None, found.n)


def _group_score(
    results: Mapping[str, Any],
    measure: Measure,
    by_task: Mapping[str, Sequence[Score]],
    settings: Mapping[str, Any],
) -> Score:
    leaves = leaves_of(measure.task, results["group_subtasks"])
    parts = [
        score
        for leaf in leaves
        for score in by_task.get(leaf, ())
        if score.metric.split(",")[0] == measure.metric
        and score.settings["filter"] == measure.filter
    ]
    scale: Scale = parts[0].scale if parts else scale_of(measure.metric, ())
    value = float(results["results"][measure.task][measure.key])
    value *= 100 if scale == "percent" else 1
    stderr = _group_stderr(value, parts)
    reach = None if stderr is None else Z95 * stderr
    interval = Interval(
        value,
        stderr,
        None if reach is None else value - reach,
        None if reach is None else value + reach,
        sum(map(size_of, parts)),
    )
    return measured(
        measure.task,
        measure_name(measure, measures_of(results, measure.task)),
        interval.clipped(0, 100) if scale == "percent" else interval,
        scale,
        missing=sum(part.missing for part in parts),
        higher_is_better=higher_is_better(results, measure),
        settings=_settings(results, measure, settings),
    )


def _group_stderr(value: float, parts: Sequence[Score]) -> float | None:
    errors = [part.stderr for part in parts if part.stderr is not None]
    if not parts or len(errors) != len(parts):
        return None
    sizes = [size_of(part) for part in parts]
    pooled = sum(part.value * n for part, n in zip(parts, sizes, strict=True)) / sum(sizes)
    if math.isclose(value, pooled, rel_tol=1e-9):
        return float(pooled_sample_stderr(errors, sizes))
    if math.isclose(value, sum(part.value for part in parts) / len(parts), rel_tol=1e-9):
        return float(unweighted_mean_stderr(errors))
    return None


def _settings(
    results: Mapping[str, Any], measure: Measure, settings: Mapping[str, Any]
) -> dict[str, Any]:
    config = results["configs"].get(measure.task, {})
    found = {
        "few_shot": few_shot_of(results, measure.task),
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


def _task_samples(
    task: str, rows: Sequence[Mapping[str, Any]], measures: Sequence[Measure]
) -> list[Sample]:
    merged: dict[int, dict[str, float]] = {}
    details: dict[int, dict[str, Any]] = {}
    # Whether a metric is a percentage is a matter of all its documents, hence decided first.
    factors = {
        m: 100.0 if scale_of(m.metric, _numbers(rows, m)) == "percent" else 1.0 for m in measures
    }
    for row in rows:
        identity = row["doc_id"]
        metrics = merged.setdefault(identity, {})
        details.setdefault(identity, _detail(row))
        for measure in measures:
            if row["filter"] == measure.filter and is_number(row.get(measure.metric)):
                value = float(row[measure.metric]) * factors[measure]
                metrics[measure_name(measure, measures)] = value
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
    return [float(row[measure.metric]) for row in rows if is_number(row.get(measure.metric))]


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
    if is_number(value):
        return float(value)
    return _without_folder(str(value))


def _without_folder(text: str) -> str:
    path = text.removeprefix("file://")
    is_path = os.path.isabs(path) and "\n" not in path and os.path.exists(path)
    return os.path.basename(path.rstrip("/")) if is_path else text


def dumped(value: Any) -> str:
    """Indented JSON of a portable results file, its keys sorted."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
