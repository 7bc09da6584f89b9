"""Local files in place of the Hub datasets of the harness's tasks, their templates unchanged.

A task over other data than the standard's is another test: what differs is put into words,
which stand in the score's settings and below every table.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.benchmarks.lm_eval_standard import STANDARD_ROWS
from evalkit.errors import Problem, did_you_mean
from evalkit.leaderboard import definition_names, read_definition
from evalkit.metrics.harness import leaves_of
from evalkit.records import Score

Files = Mapping[str, str]  # of one task: split -> file
ASKED = "asked"  # stands for a split: the one that is asked, of a task with one file alone
# How the `datasets` library calls the reader of a file.
READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


def problems_of(data: Mapping[str, Files]) -> list[Problem]:
    """Files that are not there, or that cannot be read as data."""
    return [
        Problem(f"data.{task}.{split}", message, hint)
        for task, files in data.items()
        for split, file in files.items()
        for message, hint in _faults(Path(file), files)
    ] + [Problem(f"data.{task}", "no split is given") for task in data if not data[task]]


def _faults(file: Path, files: Files) -> Iterable[tuple[str, str]]:
    if file.suffix not in READERS:
        yield f"{file} is none of {', '.join(READERS)}", "convert it"
    elif not file.is_file():
        names = [one.name for one in file.parent.iterdir()] if file.parent.is_dir() else []
        yield f"there is no file {file}", did_you_mean(file.name, names)
    elif not file.stat().st_size:
        yield f"{file} is empty", "a line of JSON for each document"
    elif len({READERS.get(Path(one).suffix) for one in files.values()}) > 1:
        yield "the splits of a task must be files of one kind", "convert them"


def write_definitions(
    data: Mapping[str, Files], known: Mapping[str, Any], folder: Path
) -> list[Problem]:
    """A definition per task that includes the known one and replaces its dataset alone.

    known: the harness's task index.
    """
    problems = []
    for task, files in data.items():
        entry = known.get(task)
        if entry is None or entry.yaml_path is None or entry.kind.name != "TASK":
            message = f"'{task}' is no task of the harness whose data can be replaced"
            near = did_you_mean(task, known).split("   (known:")[0]
            hint = near if near.startswith("did") else "name single tasks, not groups"
            problems.append(Problem(f"data.{task}", message, hint))
            continue
        paths = {split: str(Path(file).absolute()) for split, file in files.items()}
        definition = {
            "include": str(entry.yaml_path.absolute()),
            "task": task,
            "dataset_path": READERS[Path(next(iter(paths.values()))).suffix],
            "dataset_name": None,
            "dataset_kwargs": {"data_files": paths},
        }
        if ASKED in files:
            definition |= _of_one_file(_stock(entry.yaml_path), paths[ASKED])
        # JSON is YAML, and needs no quoting rules.
        (folder / f"{task}.yaml").write_text(json.dumps(definition, indent=1), "utf-8")
    return problems


def _stock(definition: Path) -> Mapping[str, Any]:
    """A definition with all that it includes."""
    from lm_eval.tasks._yaml_loader import load_yaml

    found: dict[str, Any] = load_yaml(definition, resolve_func=False)
    return found


def _of_one_file(stock: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What makes a task ask the rows of one file, and draw its examples of them.

    The split is called a test split whatever the standard's is: of that alone the harness leaves
    out the row that is being asked.
    Source: EleutherAI/lm-evaluation-harness, api/task.py, fewshot_context (release 0.4.13).
    """
    split = asked_split(stock)
    found: dict[str, Any] = {"training_split": None, "validation_split": None, "test_split": split}
    if not (stock.get("fewshot_config") or {}).get("samples"):  # else they stand in its definition
        found["fewshot_split"] = split
    return {**found, "dataset_kwargs": {"data_files": {split: path}}}


def asked_split(stock: Mapping[str, Any]) -> str:
    """The split whose rows a task asks."""
    return str(stock.get("test_split") or stock.get("validation_split") or "test")


def departures(
    data: Mapping[str, Files],
    rows: Mapping[str, Mapping[str, int]],
    limit: float | None,
    foreign: Collection[str] = (),
) -> dict[str, str]:
    """By task, in words, why its numbers are not those of the standard test; `*` for all others.

    rows: how many there are, by task and split, in the local files.
    foreign: tasks whose files ask other questions than the standard's, however many.
    """
    cut = [] if limit is None else [_cut(limit)]
    found = {"*": "; ".join(cut)}
    for task in data:
        lacking = _lacking(task, rows.get(task, {}))
        other = [] if lacking or task not in foreign else ["the local questions are others"]
        found[task] = "; ".join([*cut, *lacking, *other])
    return {task: reason for task, reason in found.items() if reason}


def labelled(
    score: Score,
    departures: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
    data: Mapping[str, Files],
) -> Score:
    """With what sets it apart from the standard test of its task, or of any task of its group.

    groups: members of each group, as the harness gives them.
    """
    leaves = leaves_of(score.task, groups)
    reasons = dict.fromkeys(departures.get(leaf, departures.get("*", "")) for leaf in leaves)
    if score.settings.get("few_shot") and any(ASKED in data.get(leaf, ()) for leaf in leaves):
        reasons["its examples are other items of those that are asked"] = None
    reason = "; ".join(reason for reason in (*reasons, _other_shots(score)) if reason)
    if not reason:
        return score
    return replace(score, settings={**score.settings, "not_comparable": reason})


def _other_shots(score: Score) -> str:
    """That the leaderboards which show this task show it with other examples than it was asked."""
    asked = score.settings.get("few_shot")
    standard = {
        int(column.settings["few_shot"])
        for name in definition_names()
        for column in read_definition(name).columns
        if column.benchmark == "lm_eval_tasks"
        and column.covers(score.task)
        and "few_shot" in column.settings
    }
    if asked is None or not standard or asked in standard:
        return ""
    usual = " or ".join(map(str, sorted(standard)))
    return f"asked with {asked} examples, the standard's are {usual}"


def _cut(limit: float) -> str:
    share = f"{100 * limit:g} % of the" if limit < 1 else f"{limit:g}"
    return f"only the first {share} items"


def _lacking(task: str, rows: Mapping[str, int]) -> Sequence[str]:
    standard = STANDARD_ROWS.get(task)
    if standard is None:
        return ["the data is local, and not known to be the standard's"]
    return [
        f"the local {split} split has {count} rows, the standard's {standard.get(split, 'none')}"
        for split, count in sorted(rows.items())
        if count != standard.get(split)
    ]
