"""Items of lm-evaluation-harness: `samples_TASK_TIME.jsonl` beside `results_TIME.json`.

Source: EleutherAI/lm-evaluation-harness, loggers/evaluation_tracker.py (release 0.4.13). Rows of
releases before 0.4.5 name no filter, and hold those of the first.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import RecipeError
from evalkit.importers import reading
from evalkit.metrics.harness import Measure, is_number, measure_name, measures_of, scale_of
from evalkit.records import Sample

_MEANS = frozenset({"acc", "acc_norm", "exact_match", "em"})  # plain means of their items


class Items(NamedTuple):
    """Samples of some tasks, how many items each has, and digests of the files by name."""

    samples: tuple[Sample, ...]
    counts: Mapping[str, int]
    files: Mapping[str, str]


def items_beside(path: Path, results: Mapping[str, Any]) -> Items:
    """The items of a results file's tasks; none where no such files lie beside it.

    results: in the layout of the harness's own.

    Raises:
        RecipeError: a file is damaged, or its items do not give the stated value.
    """
    samples: list[Sample] = []
    counts: dict[str, int] = {}
    files: dict[str, str] = {}
    for task, file in _files(path, results["results"]).items():
        rows = reading.rows(file)
        measures = measures_of(results, task)
        _require_agreement(file, rows, measures, results["results"][task])
        found = _samples(file, task, rows, measures)
        samples += found
        counts[task] = len(found)
        files[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return Items(tuple(samples), counts, files)


def _files(path: Path, tasks: Mapping[str, Any]) -> dict[str, Path]:
    time = reading.stem(path).removeprefix("results_")
    if time == reading.stem(path):
        return {}
    every = {task: [path.with_name(f"samples_{task}_{time}.jsonl{end}") for end in ("", ".gz")]
             for task in tasks}  # fmt: skip
    return {task: file for task, files in every.items() for file in files if file.is_file()}


def _samples(
    file: Path, task: str, rows: Sequence[Mapping[str, Any]], measures: Sequence[Measure]
) -> list[Sample]:
    merged: dict[str, dict[str, float]] = {}
    for row in rows:
        if "doc_id" not in row:
            raise RecipeError(f"{file}: a row has no 'doc_id'", "is it the harness's own file?")
        metrics = merged.setdefault(str(row["doc_id"]), {})
        for measure in measures:
            value = _value(row, measure)
            if value is not None:
                factor = 100.0 if scale_of(measure.metric, ()) == "percent" else 1.0
                metrics[measure_name(measure, measures)] = factor * value
    return [Sample(item, task, metrics) for item, metrics in merged.items()]


def _value(row: Mapping[str, Any], measure: Measure) -> float | None:
    value = row.get(measure.metric)
    of_filter = row.get("filter", measure.filter) == measure.filter
    return float(value) if of_filter and is_number(value) else None


def _require_agreement(
    file: Path,
    rows: Sequence[Mapping[str, Any]],
    measures: Sequence[Measure],
    stated: Mapping[str, Any],
) -> None:
    """Refuses items that are not those of the results: their means would differ."""
    for measure in measures:
        values = [value for row in rows if (value := _value(row, measure)) is not None]
        if measure.metric not in _MEANS or not values or not is_number(stated[measure.key]):
            continue
        mean, told = sum(values) / len(values), float(stated[measure.key])
        if not math.isclose(mean, told, rel_tol=1e-6, abs_tol=1e-9):
            raise RecipeError(
                f"{file}: the mean of its {measure.metric} is {mean:.6g}, and the results state"
                f" {told:.6g}",
                "keep the samples of the same run beside the results, all of them",
            )
