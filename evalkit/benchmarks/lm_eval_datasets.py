"""Which Hub datasets the harness's tasks read, known from their definitions; nothing is loaded.

Imported lazily: it needs lm_eval and datasets.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from lm_eval.tasks._yaml_loader import load_yaml

from evalkit.benchmarks.lm_eval_commits import UNKNOWN, HubDataset, is_here
from evalkit.errors import PrerequisiteError, Problem, did_you_mean
from evalkit.fetching import check_dataset
from evalkit.roles import Prefetched

_SHOWN = 5


class Definition(NamedTuple):
    """What a task is made of, and the file that says so; None where Python does."""

    values: Mapping[str, Any]
    file: Path | None


def datasets_of(index: Mapping[str, Any], names: Sequence[str]) -> dict[HubDataset, list[str]]:
    """The datasets of tasks, groups and tags, each with the tasks that read it.

    Tasks over files, folders or data made in Python have none; of a task whose definition is
    Python nothing is known.

    index: the harness's, of all that it knows.
    """
    found: dict[HubDataset, list[str]] = {}
    for name in names:
        for definition, _ in definitions(index, name):
            path = definition.get("dataset_path")
            if not path or definition.get("custom_dataset"):
                continue
            if path in _PACKAGED_DATASETS_MODULES or Path(path).exists():
                continue
            revision = (definition.get("dataset_kwargs") or {}).get("revision")
            dataset = HubDataset(path, definition.get("dataset_name"), revision)
            tasks = found.setdefault(dataset, [])
            tasks.append(str(definition.get("task", name)))
    return found


def problems_of(
    wanted: Mapping[HubDataset, Sequence[str]], revisions: Iterable[str] = ()
) -> list[Problem]:
    """Datasets that are not on this machine and that the Hub does not give; asked once for each.

    revisions: datasets that somebody names a revision of, of which each should be wanted.
    """
    known = {one.path for one in wanted}
    problems = [
        Problem("revisions", f"no task reads a dataset {name}", did_you_mean(name, known))
        for name in revisions
        if name not in known
    ]
    missing: dict[str, list[str]] = {}
    for one, tasks in wanted.items():
        if not is_here(one):
            missing.setdefault(one.path, []).extend(tasks)
    for path, tasks in missing.items():
        try:
            check_dataset(path)
        except PrerequisiteError as error:
            shown = ", ".join(tasks[:_SHOWN]) + (", ..." if len(tasks) > _SHOWN else "")
            message = f"{error.message} (its tasks: {shown})"
            problems.append(Problem("tasks", message, error.hint, prerequisite=True))
    return problems


def brought(
    wanted: Mapping[HubDataset, Sequence[str]], commits: Mapping[str, str]
) -> list[Prefetched]:
    """What loading tasks has brought to this machine. commits: that were loaded, by dataset."""
    return [
        Prefetched(
            "dataset",
            path,
            commit,
            ", ".join(sorted({one.config for one in wanted if one.path == path and one.config})),
        )
        for path, commit in commits.items()
        if commit != UNKNOWN
    ]


def definitions(
    index: Mapping[str, Any], name: str, overrides: Mapping[str, Any] | None = None
) -> Iterator[Definition]:
    """The definitions of a task, or of all below a group or tag, as the harness puts them together.

    Source: EleutherAI/lm-evaluation-harness, tasks/_factory.py (release 0.4.13).
    """
    overrides = overrides or {}
    entry = index.get(name)
    if entry is None:
        return
    kind = entry.kind.name
    if kind == "TAG":
        for task in sorted(entry.tags):
            yield from definitions(index, task, overrides)
        return
    own = dict(entry.cfg or {})
    if entry.yaml_path is not None:
        own = load_yaml(entry.yaml_path, resolve_func=False)
    if kind == "GROUP":
        yield from _members(index, own, overrides)
    else:
        yield Definition({**own, **overrides}, entry.yaml_path)


def _members(
    index: Mapping[str, Any], group: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Iterator[Definition]:
    shared = {key: group[key] for key in ("dataset_path", "dataset_name") if key in group}
    for member in group.get("task") or ():
        if isinstance(member, str):
            yield from definitions(index, member, {**shared, **overrides})
            continue
        own = {**shared, **overrides, **member}
        named = own.pop("group", None) or own.get("task")
        if isinstance(named, str) and named in index:
            yield from definitions(index, named, own)
        elif isinstance(own.get("task"), list):
            yield from _members(index, own, overrides)
        else:
            yield Definition(own, None)
