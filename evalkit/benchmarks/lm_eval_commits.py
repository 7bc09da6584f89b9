"""At which commits the harness's datasets are read: known before a run, and held to in it.

Imported lazily: it needs datasets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import datasets.config
from datasets.naming import camelcase_to_snakecase
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

from evalkit.errors import ScoreError
from evalkit.fetching import dataset_commit

UNKNOWN = "unknown"  # stands for a commit
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubDataset(NamedTuple):
    """A dataset with its configuration, as a task's definition names them.

    revision: None where the definition has none.
    """

    path: str
    config: str | None
    revision: str | None = None


def commits_of(wanted: Iterable[HubDataset], given: Mapping[str, str]) -> dict[str, str]:
    """The commit of each dataset by its id: what this machine has, else what the Hub has now.

    What is here goes first, so that a run reads the same however often it is gone on with.
    `UNKNOWN` is what is neither here nor in reach.

    given: revisions that somebody wants, by id; they go before both.
    """
    by_path: dict[str, list[HubDataset]] = {}
    for one in wanted:
        by_path.setdefault(one.path, []).append(one)
    return {path: _commit(path, every, given.get(path)) for path, every in by_path.items()}


def _commit(path: str, configurations: Sequence[HubDataset], given: str | None) -> str:
    revision = given or configurations[0].revision
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    here = None if given else _commit_here(configurations)
    return here or dataset_commit(path, revision) or UNKNOWN


def _commit_here(configurations: Sequence[HubDataset]) -> str | None:
    """The newest commit that the cache has all configurations of, or else any of them."""
    every = [_cached(one) for one in configurations]
    newest = sorted((made, commit) for cached in every for commit, made in cached.items())
    whole = [one for one in newest if all(one[1] in cached for cached in every)]
    return (whole or newest)[-1][1] if newest else None


def is_here(dataset: HubDataset) -> bool:
    """Whether `datasets` has it ready in its cache, so that it loads without a network."""
    return bool(_cached(dataset))


def _cached(dataset: HubDataset) -> dict[str, float]:
    """Commits that `datasets` has ready in its cache, each with when it was made.

    Source: huggingface/datasets, builder.py, _relative_data_dir, and packaged_modules/cache
    (release 5.2): folders are owner___snake_case_name/configuration/version/commit, and without a
    network the newest is taken.
    """
    *owner, name = dataset.path.split("/")
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "___".join(
        [*owner, camelcase_to_snakecase(name)]
    )
    infos = folder.glob(f"{dataset.config or '*'}/*/*/dataset_info.json")
    return {info.parent.name: info.parent.stat().st_mtime for info in infos}


@contextmanager
def at_commits(commits: Mapping[str, str]) -> Iterator[None]:
    """Has the harness load each dataset at its commit, and not whatever is newest.

    Its tasks hand on what their definitions say, and groups of tasks have no place for a revision:
    so the one function is wrapped through which all of them read.
    """
    load = datasets.load_dataset

    def load_at_commit(path: str, *arguments: Any, **options: Any) -> Any:
        commit = commits.get(path, UNKNOWN)
        if commit != UNKNOWN:
            options["revision"] = commit
        return load(path, *arguments, **options)

    datasets.load_dataset = load_at_commit
    try:
        yield
    finally:
        datasets.load_dataset = load


def loaded_commit(task: Any, meant: Mapping[str, str]) -> dict[str, str]:
    """The commit that a loaded task has read its dataset at, by the dataset; empty for files.

    meant: what was known before; of tasks that are made in Python nothing was.

    Raises:
        ScoreError: the commit is another one than was meant.
    """
    path = str(getattr(task, "DATASET_PATH", None) or "")
    if not path or path in _PACKAGED_DATASETS_MODULES or Path(path).exists():
        return {}
    before = meant.get(path, UNKNOWN)
    commit = _commit_of(getattr(task, "dataset", None) or {}) or before
    if before not in (UNKNOWN, commit):
        raise ScoreError(
            f"task {task.task_name} has read {path} at {commit[:12]}, not at {before[:12]}",
            "without a network the newest in this machine's cache is taken: prefetch the recipe"
            " anew, or name that commit in `revisions`",
        )
    return {path: commit}


def _commit_of(splits: Mapping[str, Any]) -> str:
    for split in splits.values():
        for file in getattr(split, "cache_files", ()):
            commit = Path(file["filename"]).parent.name
            if _COMMIT.fullmatch(commit):
                return commit
    return ""
