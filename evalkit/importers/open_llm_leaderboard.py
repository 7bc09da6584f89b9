"""Results of the Open LLM Leaderboard: files of its first version, and rows of its second.

First: `results_*.json` of the data sets `details_*` and `results`, with tasks such as
`harness|arc:challenge|25`. Second: rows of `open-llm-leaderboard/contents`, as JSON, JSON lines
or CSV. The second's own `results_*.json` are the harness's, which the importer `lm_eval` reads.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.importers import reading
from evalkit.importers.stated import Stated, items_told_by, stated
from evalkit.leaderboard import read_definition
from evalkit.metrics.harness import is_number, scale_of
from evalkit.records import ResultSet, Score
from evalkit.roles import Imported, Importer

TOOL = "Open LLM Leaderboard"
BENCHMARK = "lm_eval_tasks"
_TASK = re.compile(r"harness\|([^|]+)\|(\d+)")
_MMLU = "hendrycksTest-"
# By the harness's present names, under which leaderboards here show them: task, metric to metric.
_PRESENT: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "arc:challenge": {"*": ("arc_challenge", "*")},
    "truthfulqa:mc": {"mc1": ("truthfulqa_mc1", "acc"), "mc2": ("truthfulqa_mc2", "acc")},
    "gsm8k": {"acc": ("gsm8k", "exact_match")},
}
_PARTIAL_CREDIT = frozenset({"mc2", "f1"})
_FILTERS = {"gsm8k": "strict-match"}
# Columns of the second version's table: normalised values, and the raw ones beside them.
_ROW_TASKS = {
    "IFEval": "leaderboard_ifeval",
    "BBH": "leaderboard_bbh",
    "MATH Lvl 5": "leaderboard_math_hard",
    "GPQA": "leaderboard_gpqa",
    "MUSR": "leaderboard_musr",
    "MMLU-PRO": "leaderboard_mmlu_pro",
}
_NORMALISED = "the leaderboard's own, 0 is what guessing gives"


class OpenLlmLeaderboardImporter(Importer):
    """Numbers that the Open LLM Leaderboard measured, of both its versions."""

    def recognises(self, path: Path) -> bool:
        """By the names of tasks in a results file, or of columns in a row."""
        if not path.is_file() or not path.name.endswith((".json", ".jsonl", ".csv", ".gz")):
            return False
        beginning = reading.head(path)
        if path.suffix == ".csv":
            return _is_row(next(csv.reader(io.StringIO(beginning.partition("\n")[0])), []))
        if beginning.lstrip().startswith("{") and _TASK.search(beginning):
            return '"results"' in beginning
        return _is_row(re.findall(r'"([^"]+)":', beginning.partition("}")[0]))

    def read(self, path: Path) -> list[Imported]:
        """The one result of a results file; one result per row of a table."""
        content = reading.head(path).lstrip()
        if path.suffix != ".csv" and content.startswith("{") and _TASK.search(content):
            return [_results_file(path)]
        return [_imported_row(path, where, row) for where, row in _rows(path)]


PLUGIN = OpenLlmLeaderboardImporter


def _is_row(columns: list[str]) -> bool:
    return {"fullname", *_ROW_TASKS} <= set(columns)


def _results_file(path: Path) -> Imported:
    value = reading.mapping(path)
    results = value.get("results")
    if not isinstance(results, dict):
        raise RecipeError(f"{path} has no 'results' by task")
    config = value.get("config_general") or value.get("config") or {}
    model = config.get("model_name") if isinstance(config, dict) else None
    if not isinstance(model, str) or not model:
        raise RecipeError(f"{path} names no model", "'config_general' holds its 'model_name'")
    stated_versions = value.get("versions")
    versions = stated_versions if isinstance(stated_versions, dict) else {}
    scores = tuple(_scores_of_file(path, results, versions))
    if not scores:
        raise RecipeError(f"{path}: no number can be taken from it")
    provenance: dict[str, Any] = {
        "harness": _harness(),
        "protocol": "numbers and standard errors as the leaderboard's file states them",
        "intervals": "95 %: Wilson for right or wrong items, normal for other means",
        "run_by": TOOL,
        "imported": reading.origin(TOOL, path, model),
    }
    for key in ("lighteval_sha", "model_sha", "model_dtype", "max_samples"):
        if config.get(key) is not None:
            provenance[key] = str(config[key])
    return Imported(model, ResultSet(BENCHMARK, "", "", scores, provenance))


def _scores_of_file(
    path: Path, results: Mapping[str, Any], versions: Mapping[str, Any]
) -> Iterator[Score]:
    for name, row in results.items():
        found = _TASK.fullmatch(name)
        if found is None:
            continue  # `all`: a mean of tasks that have nothing in common
        if not isinstance(row, dict):
            raise RecipeError(f"{path}: '{name}' holds no numbers")
        for metric, value in row.items():
            if metric.endswith("_stderr") or not is_number(value) or isinstance(value, bool):
                continue
            yield _score(found[1], int(found[2]), metric, row, versions.get(name))


def _score(old: str, shots: int, metric: str, row: Mapping[str, Any], version: Any) -> Score:
    task, present = _present(old, metric)
    value, error = float(row[metric]), row.get(f"{metric}_stderr")
    stderr = float(error) if is_number(error) else None
    n = None if metric in _PARTIAL_CREDIT else items_told_by(value, stderr)
    settings: dict[str, Any] = {"few_shot": shots, "chat_template": False, "harness": _harness()}
    if task in _FILTERS:
        settings["filter"] = _FILTERS[task]
    if version is not None:
        settings["task_version"] = str(version)
    scale = scale_of(metric, ())
    found = stated(value, stderr, n).on(scale, 100 if scale == "percent" else 1)
    return found.score(task, present, scale, settings)


def _present(old: str, metric: str) -> tuple[str, str]:
    """Task and metric by the harness's present names."""
    if old.startswith(_MMLU):
        return f"mmlu_{old.removeprefix(_MMLU)}", metric
    known = _PRESENT.get(old, {})
    task, name = known.get(metric) or known.get("*") or (old.replace(":", "_"), "*")
    return task, metric if name == "*" else name


def _harness() -> str:
    return read_definition("open_llm_v1").harness


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path.suffix != ".csv":
        for number, row in enumerate(reading.rows(path), start=1):
            yield f"{path}: row {number}", row
        return
    lines = csv.DictReader(io.StringIO(reading.text(path)))
    for number, cells in enumerate(lines, start=2):
        if None in cells or None in cells.values():
            raise RecipeError(f"{path}:{number} has not as many cells as the header")
        yield f"{path}:{number}", dict(cells)


def _imported_row(path: Path, where: str, row: Mapping[str, Any]) -> Imported:
    model = row.get("fullname")
    if not isinstance(model, str) or not model:
        raise RecipeError(f"{where} names no model", "its column 'fullname' does")
    definition = read_definition("open_llm_v2")
    metrics = {column.task: column.metric for column in definition.columns}
    scores = []
    for name, task in _ROW_TASKS.items():
        value = _cell(row, name, where)
        if value is not None:
            settings = {"harness": definition.harness, "normalised": _NORMALISED}
            scores.append(Stated(value).score(task, metrics[task], "percent", settings))
    if not scores:
        raise RecipeError(f"{where}: {model} has no number")
    provenance: dict[str, Any] = {
        "harness": definition.harness,
        "protocol": "the leaderboard's normalised figures, as its table states them",
        "run_by": TOOL,
        "imported": reading.origin(TOOL, path, model),
    }
    for key, fact in (("Model sha", "model_sha"), ("Precision", "precision"),
                      ("Submission Date", "submitted"), ("Average ⬆️", "average")):  # fmt: skip
        if row.get(key) not in (None, ""):
            provenance[fact] = str(row[key])
    if "Chat Template" in row:
        provenance["chat_template"] = str(row["Chat Template"]).lower() == "true"
    return Imported(model, ResultSet(BENCHMARK, "", "", tuple(scores), provenance))


def _cell(row: Mapping[str, Any], name: str, where: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise RecipeError(f"{where}: '{name}' is {value!r}, which is no number") from None
    if not is_number(number):
        raise RecipeError(f"{where}: '{name}' is {value!r}")
    return number
