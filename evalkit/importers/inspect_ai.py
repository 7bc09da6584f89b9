"""Logs of UKGovernmentBEIS/inspect_ai, as JSON or packed (`.eval`), with their samples.

A log is one task. Its metrics are taken as it states them; `stderr` is the error of the mean of
the same scorer and no score of its own. Source: inspect_ai, log/_log.py (commit 499e615).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import RecipeError
from evalkit.importers import reading
from evalkit.importers.inspect_ai_log import Log, is_log, number_of, read_log
from evalkit.importers.stated import stated
from evalkit.metrics.harness import is_number
from evalkit.records import ResultSet, Sample, Scale, Score
from evalkit.roles import Imported, Importer

TOOL = "inspect_ai"
BENCHMARK = "inspect_ai"
_MEANS = ("accuracy", "mean")
_SPREADS = frozenset({"stderr", "bootstrap_stderr", "std", "var"})
_SHOTS = ("fewshot", "num_fewshot", "few_shot", "n_shots")
_PERCENT = frozenset({"accuracy"})


class InspectAiImporter(Importer):
    """Metrics of one task with its samples, from a log of inspect_ai."""

    def recognises(self, path: Path) -> bool:
        """By the first keys of the JSON, or the archive's ending and form."""
        return path.is_file() and is_log(path)

    def read(self, path: Path) -> list[Imported]:
        """The one result of the log."""
        log = read_log(path)
        _require_finished(log)
        spec = log.section("eval")
        task, model = _text(spec, "task", path), _text(spec, "model", path)
        scorers = tuple(_scorers(log))
        if not scorers:
            raise RecipeError(f"{path} holds no scores", "score it first: `inspect score LOG`")
        scores = tuple(score for one in scorers for score in _scores(log, task, one, scorers))
        if not scores:
            raise RecipeError(f"{path}: none of its metrics is a finite number")
        provenance = {**_provenance(log), "imported": reading.origin(TOOL, path, model)}
        samples = tuple(_samples(log, task, scorers))
        return [Imported(model, ResultSet(BENCHMARK, "", "", scores, provenance, samples))]


PLUGIN = InspectAiImporter


class Scorer(NamedTuple):
    """One scorer's results; items and missing are None where the log does not say."""

    name: str
    metrics: Mapping[str, Any]
    items: int | None
    missing: int
    row: Mapping[str, Any]


def _require_finished(log: Log) -> None:
    status = log.header["status"]
    if status != "success":
        done = log.section("results").get("completed_samples")
        told = f" after {done} samples" if done else ""
        raise RecipeError(
            f"{log.file}: the evaluation did not finish (status '{status}'{told})",
            "finish it with `inspect eval-retry`, or leave the file out",
        )
    if log.header.get("invalidated"):
        raise RecipeError(f"{log.file}: the log was marked invalid", "leave the file out")


def _scorers(log: Log) -> Iterator[Scorer]:
    results = log.section("results")
    rows = results.get("scores")
    if rows is None and isinstance(results.get("scorer"), dict):  # logs of version 1
        rows = [{**results["scorer"], "metrics": results.get("metrics") or {}}]
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, dict) or not isinstance(row.get("metrics"), dict):
            raise RecipeError(f"{log.file}: a scorer of its results has no metrics")
        name = str(row.get("name") or row.get("scorer") or "score")
        items, missing = row.get("scored_samples"), row.get("unscored_samples")
        if not isinstance(items, int):
            items = len(_reduced(log, name)) or _without_epochs(log)
        yield Scorer(name, row["metrics"], items, missing if isinstance(missing, int) else 0, row)


def _without_epochs(log: Log) -> int | None:
    """How many items were completed, each counted once."""
    done = log.section("results").get("completed_samples")
    epochs = log.section("eval", "config").get("epochs") or 1
    return done // epochs if isinstance(done, int) and isinstance(epochs, int) and done else None


def _scores(log: Log, task: str, scorer: Scorer, every: Sequence[Scorer]) -> Iterator[Score]:
    """The mean first; each metric's name bears its scorer where there are several of the name."""
    settings = _settings(log)
    values = {name: _value(row) for name, row in scorer.metrics.items()}
    stderr = next((values[name] for name in ("stderr", "bootstrap_stderr") if values.get(name)
                   is not None), None)  # fmt: skip
    shown = [name for name in values if name not in _SPREADS and values[name] is not None]
    for name in sorted(shown, key=lambda one: one not in _MEANS):
        value = values[name]
        assert value is not None
        twins = sum(name in other.metrics for other in every)
        error = stderr if name in _MEANS else None
        scale: Scale = "percent" if name in _PERCENT and 0 <= value <= 1 else "ratio"
        found = stated(value, error, scorer.items).on(scale, 100 if scale == "percent" else 1)
        yield found.score(
            task,
            name if twins == 1 else f"{name},{scorer.name}",
            scale,
            {**settings, "scorer": scorer.name},
            missing=scorer.missing,
        )


def _value(row: Any) -> float | None:
    value = row.get("value") if isinstance(row, dict) else row
    return float(value) if is_number(value) and not isinstance(value, bool) else None


def _settings(log: Log) -> dict[str, Any]:
    spec, config = log.section("eval"), log.section("eval", "config")
    arguments = log.section("eval", "task_args")
    shots = next((arguments[key] for key in _SHOTS if type(arguments.get(key)) is int), None)
    epochs = config.get("epochs")
    generation = log.section("plan", "config")
    facts = {
        "harness": _harness(log),
        "task_version": str(spec["task_version"]) if "task_version" in spec else None,
        "few_shot": shots,
        "limit": config.get("limit"),
        "epochs": epochs if epochs != 1 else None,
        "epochs_reducer": ", ".join(map(str, config.get("epochs_reducer") or ()))
        if epochs not in (None, 1)
        else None,
        "temperature": generation.get("temperature"),
    }
    return {key: value for key, value in facts.items() if value not in (None, "")}


def _harness(log: Log) -> str:
    version = log.section("eval", "packages").get("inspect_ai")
    return f"inspect_ai {version}" if version else "inspect_ai (version not stated)"


def _provenance(log: Log) -> dict[str, Any]:
    spec = log.section("eval")
    dataset = log.section("eval", "dataset")
    facts: dict[str, Any] = {
        "harness": _harness(log),
        "protocol": "metrics as the log states them",
        "intervals": "95 %: Wilson for right or wrong items, Student for other means",
        "data": {key: dataset[key] for key in ("name", "samples") if dataset.get(key) is not None},
        "task_args": dict(log.section("eval", "task_args")),
        "created": str(spec.get("created", "")),
    }
    revision = log.section("eval", "revision")
    if revision.get("commit"):
        dirty = " with uncommitted changes" if revision.get("dirty") else ""
        facts["revision"] = f"{revision['commit']}{dirty}"
    judge = _judge(log)
    return facts | ({"judge": judge} if judge else {})


def _judge(log: Log) -> dict[str, Any]:
    """Who graded, where a model did: the named one, else the role `grader`, else the model itself.

    Source: inspect_ai, scorer/_model.py.
    """
    rows = log.section("results").get("scores")
    for row in rows if isinstance(rows, list) else []:
        if not str(row.get("scorer") or row.get("name")).startswith("model_graded"):
            continue
        parameters = row.get("params") if isinstance(row.get("params"), dict) else {}
        role = log.section("eval", "model_roles", "grader").get("model")
        model = parameters.get("model") or role or f"{log.section('eval')['model']} (itself)"
        return {"name": str(row.get("scorer") or row["name"]), "model": str(model)}
    return {}


def _samples(log: Log, task: str, scorers: Sequence[Scorer]) -> Iterator[Sample]:
    """One per item: the mean of each scorer over its epochs, as the headline metric's value."""
    found: dict[str, dict[str, float]] = {}
    for scorer in scorers:
        name = next((one for one in _MEANS if one in scorer.metrics), None)
        if name is None:
            continue
        factor = 100.0 if name in _PERCENT else 1.0
        metric = (
            name if sum(name in one.metrics for one in scorers) == 1 else f"{name},{scorer.name}"
        )
        for item, value in (_reduced(log, scorer.name) or _averaged(log, scorer.name)).items():
            found.setdefault(item, {})[metric] = factor * value
    return (Sample(item, task, metrics) for item, metrics in found.items())


def _reduced(log: Log, scorer: str) -> dict[str, float]:
    """What the log itself has made of each item's epochs; empty where it does not say."""
    for reduction in log.reductions:
        if reduction.get("scorer") == scorer:
            rows = [row for row in reduction.get("samples") or [] if isinstance(row, dict)]
            pairs = [(str(row.get("sample_id")), number_of(row.get("value"))) for row in rows]
            return {item: value for item, value in pairs if value is not None}
    return {}


def _averaged(log: Log, scorer: str) -> dict[str, float]:
    by_item: dict[str, list[float]] = {}
    for sample in log.samples:
        scores = sample.get("scores")
        score = scores.get(scorer) if isinstance(scores, dict) else None
        value = number_of(score.get("value")) if isinstance(score, dict) else None
        if value is not None:
            by_item.setdefault(str(sample.get("id")), []).append(value)
    return {item: sum(values) / len(values) for item, values in by_item.items()}


def _text(spec: Mapping[str, Any], key: str, file: Path) -> str:
    value = spec.get(key)
    if not isinstance(value, str) or not value:
        raise RecipeError(f"{file}: 'eval' names no {key}")
    return value
