"""Which Hub datasets the harness's tasks read, known from their definitions; nothing is loaded.

Imported lazily: it needs lm_eval and datasets.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets.config
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
from lm_eval.tasks._yaml_loader import load_yaml

from evalkit.errors import PrerequisiteError, Problem
from evalkit.fetching import check_dataset
from evalkit.roles import Prefetched

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHOWN = 5


class HubDataset(NamedTuple):
    """A dataset with its configuration, as a task's definition names them."""

    path: str
    config: str | None


def datasets_of(index: Mapping[str, Any], names: Sequence[str]) -> dict[HubDataset, list[str]]:
    """The datasets of tasks, groups and tags, each with the tasks that read it.

    Tasks over files, folders or data made in Python have none; of a task whose definition is
    Python nothing is known.

    index: the harness's, of all that it knows.
    """
    found: dict[HubDataset, list[str]] = {}
    for name in names:
        for definition in _definitions(index, name, {}):
            path = definition.get("dataset_path")
            if not path or definition.get("custom_dataset"):
                continue
            if path in _PACKAGED_DATASETS_MODULES or Path(path).exists():
                continue
            tasks = found.setdefault(HubDataset(path, definition.get("dataset_name")), [])
            tasks.append(str(definition.get("task", name)))
    return found


def problems_of(wanted: Mapping[HubDataset, Sequence[str]]) -> list[Problem]:
    """Datasets that are not on this machine and that the Hub does not give; asked once for each."""
    missing: dict[str, list[str]] = {}
    for one, tasks in wanted.items():
        if not is_here(one):
            missing.setdefault(one.path, []).extend(tasks)
    problems: list[Problem] = []
    for path, tasks in missing.items():
        try:
            check_dataset(path)
        except PrerequisiteError as error:
            shown = ", ".join(tasks[:_SHOWN]) + (", ..." if len(tasks) > _SHOWN else "")
            message = f"{error.message} (its tasks: {shown})"
            problems.append(Problem("tasks", message, error.hint, prerequisite=True))
    return problems


def is_here(dataset: HubDataset) -> bool:
    """Whether `datasets` has it ready in its cache, so that it loads without a network."""
    # Source: huggingface/datasets, builder.py, _relative_data_dir (release 5.2): the cache's
    # folders are owner___name/configuration/version/commit.
    folder = Path(datasets.config.HF_DATASETS_CACHE) / dataset.path.replace("/", "___")
    return any(folder.glob(f"{dataset.config or '*'}/*/*/dataset_info.json"))


def brought(
    tasks: Mapping[str, Any], wanted: Mapping[HubDataset, Sequence[str]]
) -> list[Prefetched]:
    """What loading tasks has brought to this machine, each dataset at its commit."""
    found: dict[str, Prefetched] = {}
    for dataset, names in wanted.items():
        configs = sorted({one.config for one in wanted if one.path == dataset.path and one.config})
        for name in names:
            commit = _commit_of(getattr(tasks.get(name), "dataset", None) or {})
            if commit:
                found[dataset.path] = Prefetched(
                    "dataset", dataset.path, commit, ", ".join(configs)
                )
    return list(found.values())


def _commit_of(splits: Mapping[str, Any]) -> str:
    for split in splits.values():
        for file in getattr(split, "cache_files", ()):
            commit = Path(file["filename"]).parent.name
            if _COMMIT.fullmatch(commit):
                return commit
    return ""


def _definitions(
    index: Mapping[str, Any], name: str, overrides: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The definitions of a task, or of all below a group or tag, as the harness puts them together.

    Source: EleutherAI/lm-evaluation-harness, tasks/_factory.py (release 0.4.13).
    """
    entry = index.get(name)
    if entry is None:
        return
    kind = entry.kind.name
    if kind == "TAG":
        for task in sorted(entry.tags):
            yield from _definitions(index, task, overrides)
        return
    own = dict(entry.cfg or {})
    if entry.yaml_path is not None:
        own = load_yaml(entry.yaml_path, resolve_func=False)
    if kind == "GROUP":
        yield from _members(index, own, overrides)
    else:
        yield {**own, **overrides}


def _members(
    index: Mapping[str, Any], group: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    shared = {key: group[key] for key in ("dataset_path", "dataset_name") if key in group}
    for member in group.get("task") or ():
        if isinstance(member, str):
            yield from _definitions(index, member, {**shared, **overrides})
            continue
        own = {**shared, **overrides, **member}
        named = own.pop("group", None) or own.get("task")
        if isinstance(named, str) and named in index:
            yield from _definitions(index, named, own)
        elif isinstance(own.get("task"), list):
            yield from _members(index, own, overrides)
        else:
            yield own
