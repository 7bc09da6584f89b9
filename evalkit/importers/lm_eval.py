"""Result files of EleutherAI/lm-evaluation-harness: `results_*.json` of 0.4, and of 0.3.

They hold no items, only values with standard errors; items lie in `samples_*.jsonl` beside them.
How many there were is stated (0.4), or follows from the standard error of a score whose items
are right or wrong; a number for which neither tells it has no `n`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.importers import reading
from evalkit.importers.lm_eval_samples import items_beside
from evalkit.importers.stated import Stated, items_told_by, stated
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
from evalkit.records import ResultSet, Score
from evalkit.roles import Imported, Importer

TOOL = "lm-eval"
BENCHMARK = "lm_eval_tasks"
_LOWER_IS_BETTER = frozenset(
    {"bits_per_byte", "byte_perplexity", "perplexity", "ppl", "ter", "wer", "word_perplexity"}
)
_STATES = (dict, str, int, float, type(None))
_SECTIONS: Mapping[str, Any] = {
    "higher_is_better": (dict, type(None)),
    "n-shot": (int, type(None)),
    "n-samples": (dict, type(None)),
    "n_samples": (dict, type(None)),
    "versions": _STATES,
    "group_subtasks": list,
}
_STATED = {"chat_template_sha": "chat_template_sha256", "git_hash": "commit", "date": "date",
           "model_sha": "model_sha"}  # fmt: skip
_PARTIAL_CREDIT = frozenset({"f1", "mc2"})  # items may count anything from 0 to 1


class LmEvalImporter(Importer):
    """Every number of every task, with the interval that its standard error gives."""

    def recognises(self, path: Path) -> bool:
        """A JSON object whose `results` are numbers by task, as the harness writes them."""
        if not path.is_file() or not path.name.endswith((".json", ".json.gz")):
            return False
        if not reading.head(path).lstrip().startswith("{"):
            return False
        try:
            value = reading.mapping(path)
        except RecipeError:
            return False
        results = value.get("results")
        if not isinstance(results, dict) or not ({"versions", "config", "tasks"} & set(value)):
            return False
        if any("|" in task for task in results):  # lighteval's, as of the Open LLM Leaderboard
            return False
        return any(isinstance(row, dict) and _numbers(row) for row in results.values())

    def read(self, path: Path) -> list[Imported]:
        """The one result of the file."""
        value = reading.mapping(path)
        _require_sections(value, path)
        results, old = _normalised(value), _is_old(value)
        items = items_beside(path, results)
        scores, left_out = _scores(results, _settings(value, old), items.counts)
        if not scores:
            raise RecipeError(f"{path}: no number can be taken from it: {'; '.join(left_out)}")
        model = _model(value, path)
        provenance: dict[str, Any] = {
            "harness": _harness(value, old),
            "protocol": "numbers and standard errors as the file states them",
            "task_versions": {k: str(v) for k, v in sorted(results["versions"].items())},
            "intervals": "95 %: Wilson for right or wrong items, Student for other means, "
            "normal for groups",
            "imported": reading.origin(TOOL, path, model),
        }
        for key, name in _STATED.items():
            if value.get(key):
                provenance[name] = str(value[key])
        if items.files:
            provenance["samples"] = dict(items.files)
        if left_out:
            provenance["left_out"] = left_out
        result = ResultSet(BENCHMARK, "", "", tuple(scores), provenance, items.samples)
        return [Imported(model, result)]


PLUGIN = LmEvalImporter


def _require_sections(value: Mapping[str, Any], path: Path) -> None:
    """Refuses a file whose parts by task are something else."""
    for key, kind in _SECTIONS.items():
        section = value.get(key) or {}
        entries = section.values() if isinstance(section, dict) else [None]
        if not isinstance(section, dict) or not all(isinstance(one, kind) for one in entries):
            raise RecipeError(f"{path}: '{key}' is not what the harness writes", "is it whole?")
    groups = value.get("group_subtasks") or {}
    for group, members in groups.items():
        if not all(isinstance(one, str) for one in members) or _is_inside(group, group, groups):
            raise RecipeError(f"{path}: 'group_subtasks' has no sound members of '{group}'")


def _is_inside(task: str, group: str, groups: Mapping[str, list[Any]]) -> bool:
    """Whether a task is among a group's members, or among theirs, and so on."""
    seen: set[str] = set()
    ahead = list(groups.get(group, ()))
    while ahead:
        member = ahead.pop()
        if member == task:
            return True
        if isinstance(member, str) and member not in seen:
            seen.add(member)
            ahead += groups.get(member, ())
    return False


def _numbers(row: Mapping[str, Any]) -> list[str]:
    return [key for key, value in row.items() if is_number(value) and not isinstance(value, bool)]


def _is_old(value: Mapping[str, Any]) -> bool:
    """Whether the layout is 0.3's, whose metrics name no filter."""
    rows = [row for row in value["results"].values() if isinstance(row, dict)]
    return not any("," in key for row in rows for key in row)


def _normalised(value: Mapping[str, Any]) -> dict[str, Any]:
    """The file in the layout of the harness's own results; 0.3's metrics get the filter `none`."""
    old = _is_old(value)
    results = {
        task: {f"{key},none" if old else key: row[key] for key in row}
        for task, row in _flat(value["results"]).items()
        if isinstance(row, dict)
    }
    shots = value.get("n-shot") or _shots_of_tasks(value.get("tasks"))
    given = _config(value).get("num_fewshot", value.get("num_fewshot"))
    return {
        "results": results,
        "group_subtasks": value.get("group_subtasks") or _groups(value["results"]),
        "higher_is_better": value.get("higher_is_better") or {},
        "n-samples": value.get("n-samples") or _flat(value.get("n_samples") or {}),
        "n-shot": {task: shots.get(task, given) for task in {*results, *shots}},
        "versions": {
            task: version
            for group, stated in (value.get("versions") or {}).items()
            for task, version in (stated if isinstance(stated, dict) else {group: stated}).items()
        },
    }


def _flat(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """What stands within its group, as some tools keep it, beside all others."""
    found: dict[str, Any] = {}
    for task, value in tasks.items():
        found |= value if _is_group(value) else {task: value}
    return found


def _is_group(value: Any) -> bool:
    return (
        isinstance(value, dict) and bool(value) and all(isinstance(v, dict) for v in value.values())
    )


def _groups(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Which tasks stand within a group's results."""
    return {
        task: [member for member in row if member != task]
        for task, row in results.items()
        if _is_group(row)
    }


def _shots_of_tasks(tasks: Any) -> dict[str, int]:
    """Shots as stated in the definitions of tasks, of which groups hold those of their members."""
    found: dict[str, int] = {}
    for task, definition in (tasks if isinstance(tasks, dict) else {}).items():
        if isinstance(definition, dict):
            found |= _shots_of_tasks(definition)
            if type(definition.get("num_fewshot")) is int:
                found[task] = definition["num_fewshot"]
    return found


def _scores(
    results: Mapping[str, Any], common: Mapping[str, Any], counts: Mapping[str, int]
) -> tuple[list[Score], list[str]]:
    """Headlines of all tasks first, then the rest; and what was left out, with the reason."""
    by_task: list[list[Score]] = []
    left_out: list[str] = []
    for task in results["results"]:
        measures = measures_of(results, task)
        n = _items(results, task, measures) or counts.get(task)
        found = []
        for measure in measures:
            name = measure_name(measure, measures)
            if not is_number(results["results"][task][measure.key]):
                left_out.append(f"{task}, {name}: it is not a finite number")
            else:
                found.append(_score(results, measure, name, n, common))
        by_task.append(found)
        left_out += [f"{task}: nested results" for v in results["results"][task].values()
                     if isinstance(v, dict)][:1]  # fmt: skip
    headlines = [scores[0] for scores in by_task if scores]
    return headlines + [score for scores in by_task for score in scores[1:]], left_out


def _score(
    results: Mapping[str, Any],
    measure: Measure,
    name: str,
    n: int | None,
    common: Mapping[str, Any],
) -> Score:
    task, value = measure.task, float(results["results"][measure.task][measure.key])
    scale = scale_of(measure.metric, ())
    factor = 100 if scale == "percent" and abs(value) <= 1 else 1
    found = _stated(results, measure, value, n).on(scale, factor)
    version = results["versions"].get(task)
    facts = {
        "few_shot": few_shot_of(results, task),
        "filter": measure.filter,
        "task_version": None if version is None else str(version),
    }
    settings = {key: fact for key, fact in facts.items() if fact is not None} | dict(common)
    better = higher_is_better(results, measure) and measure.metric not in _LOWER_IS_BETTER
    return found.score(task, name, scale, settings, higher_is_better=better)


def _stated(results: Mapping[str, Any], measure: Measure, value: float, n: int | None) -> Stated:
    is_group = len(leaves_of(measure.task, results["group_subtasks"])) > 1
    return stated(value, _stderr(results, measure), n, normal=is_group)


def _stderr(results: Mapping[str, Any], measure: Measure) -> float | None:
    value = results["results"][measure.task].get(f"{measure.metric}_stderr,{measure.filter}")
    return float(value) if is_number(value) else None


def _items(results: Mapping[str, Any], task: str, measures: list[Measure]) -> int | None:
    """How many items a task has: as stated, or as the standard errors of its metrics tell."""
    sizes = results["n-samples"]
    leaves = leaves_of(task, results["group_subtasks"])
    effective: list[Any] = [(sizes.get(leaf) or {}).get("effective") for leaf in leaves]
    if all(isinstance(size, int) and size > 0 for size in effective):
        return int(sum(effective))
    return next(_told_by_error(results, measures), None)


def _told_by_error(results: Mapping[str, Any], measures: list[Measure]) -> Iterator[int]:
    for measure in measures:
        value = results["results"][measure.task][measure.key]
        if measure.metric not in _PARTIAL_CREDIT and is_number(value):
            n = items_told_by(float(value), _stderr(results, measure))
            if n is not None:
                yield n


def _config(value: Mapping[str, Any]) -> Mapping[str, Any]:
    found = value.get("config") or value.get("params")
    return found if isinstance(found, dict) else {}


def _settings(value: Mapping[str, Any], old: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {"harness": _harness(value, old)}
    if old:
        settings["chat_template"] = False  # 0.3 knew none
    elif "chat_template" in value:
        settings["chat_template"] = bool(value["chat_template"])
        if value["chat_template"]:
            settings["fewshot_as_multiturn"] = value.get("fewshot_as_multiturn")
    limit = _config(value).get("limit")
    return settings if limit is None else {**settings, "limit": limit}


def _harness(value: Mapping[str, Any], old: bool) -> str:
    version = value.get("lm_eval_version")
    return f"lm-eval {version}" if version else f"lm-eval (0.{3 if old else 4}, version not stated)"


def _model(value: Mapping[str, Any], file: Path) -> str:
    """The model as the file names it, else the folder that the harness named after it."""
    arguments = _config(value).get("model_args")
    if isinstance(arguments, str):
        pairs = (part.partition("=") for part in arguments.split(","))
        arguments = {key.strip(): word for key, _, word in pairs}
    pretrained = arguments.get("pretrained") if isinstance(arguments, dict) else None
    for name in (value.get("model_name"), pretrained, value.get("model")):
        if name and isinstance(name, str):
            return name
    return file.parent.name.replace("__", "/") or reading.stem(file)
