"""Plans one release offline: which files of a folder, with which digests, go where."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evalkit.errors import Problem, PublishError
from evalkit.hub import gitoid, scan
from evalkit.loading import file_digest

RepoKind = Literal["model", "dataset"]
# Source: huggingface_hub, utils/_validators.py, validate_repo_id (1 to 96 characters in all).
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
CARD_FILE = "README.md"
_MAX_NAME = 96
_FORBIDDEN = ("--", "..")
_FORBIDDEN_ENDS = (".git", ".ipynb")
_SKIPPED = (".git", ".cache", "__pycache__", ".DS_Store")


@dataclass(frozen=True)
class PlannedFile:
    """A file of a release. git_oid: git's id of its content, as the Hub lists regular files."""

    path: str
    size_bytes: int
    sha256: str
    git_oid: str


@dataclass(frozen=True)
class ReleasePlan:
    """Everything that decides what a repository will hold.

    checkpoint: family name of the Checkpoint; note: what the family's collection says of it.
    """

    repo_id: str
    checkpoint: str
    folder: Path
    files: tuple[PlannedFile, ...]
    kind: RepoKind = "model"
    note: str = ""

    def digests(self) -> dict[str, str]:
        """Path -> sha256."""
        return {file.path: file.sha256 for file in self.files}


def plan_release(
    folder: Path,
    repo_id: str,
    *,
    checkpoint: str,
    kind: RepoKind = "model",
    note: str = "",
    allowed: Sequence[str] | None = None,
    found: Sequence[Problem] = (),
) -> ReleasePlan:
    """The plan to publish all of `folder` as `repo_id`.

    allowed: patterns of file names, by default those that a release of this kind holds.
    found: what others have found in the folder that forbids publishing it.

    Raises:
        PublishError: naming everything that forbids it.
    """
    problems = [*release_problems(folder, repo_id, kind=kind, allowed=allowed), *found]
    if problems:
        raise PublishError(
            f"{repo_id} must not be published",
            "nothing was sent; mend these files and publish again",
            problems,
        )
    files = tuple(_planned(folder, path) for path in _paths(folder))
    return ReleasePlan(repo_id, checkpoint, folder, files, kind, note)


def release_problems(
    folder: Path, repo_id: str, *, kind: RepoKind = "model", allowed: Sequence[str] | None = None
) -> list[Problem]:
    """Everything that forbids publishing `folder` as `repo_id`; empty when nothing does."""
    problems = name_problems(repo_id)
    if not folder.is_dir():
        return [*problems, Problem(folder.name, "is not a folder")]
    if allowed is None:
        allowed = scan.MODEL_FILES if kind == "model" else scan.DATASET_FILES
    paths = list(_paths(folder))
    for path in paths:
        problems += scan.file_problems(folder, path, allowed, namespace=repo_id.split("/")[0])
    return [*problems, *_missing(folder, paths, kind)]


def name_problems(repo_id: str) -> list[Problem]:
    """What keeps a Hub from having a repository `namespace/name` of that name; asks nobody."""
    names = repo_id.split("/")
    if len(names) != 2 or not all(names):
        return [Problem(repo_id, "is no repository name", "write namespace/name")]
    problems = []
    if len(repo_id) > _MAX_NAME:
        what = f"has {len(repo_id)} characters; a Hub takes {_MAX_NAME}, the namespace included"
        problems.append(Problem(repo_id, what, "shorten the family's name"))
    if not all(_NAME.fullmatch(name) for name in names):
        what = (
            "may hold only letters, digits, '-', '_' and '.', and not begin or end with '-' or '.'"
        )
        problems.append(Problem(repo_id, what, "rename it"))
    bad = [part for part in _FORBIDDEN if part in repo_id]
    bad += [end for end in _FORBIDDEN_ENDS if repo_id.endswith(end)]
    if bad:
        problems.append(Problem(repo_id, f"must not have {' or '.join(bad)} there", "rename it"))
    return problems


def _missing(folder: Path, paths: Sequence[str], kind: RepoKind) -> list[Problem]:
    wanted = [CARD_FILE, *(["config.json"] if kind == "model" else [])]
    missing = [Problem(name, "is missing") for name in wanted if name not in paths]
    if kind == "model":
        if not any(path.endswith(".safetensors") for path in paths):
            missing.append(Problem("*.safetensors", "the folder holds no weights"))
        for index in (path for path in paths if path.endswith(".safetensors.index.json")):
            missing += _missing_shards(folder / index, paths)
    return missing


def _missing_shards(index: Path, paths: Sequence[str]) -> list[Problem]:
    try:
        shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return [Problem(index.name, "is no index of weights", "save the model again")]
    return [
        Problem(shard, f"is missing, though {index.name} names it")
        for shard in sorted(shards - set(paths))
    ]


def _planned(folder: Path, path: str) -> PlannedFile:
    file = folder / path
    # Files that can only travel through LFS are never compared by git's id.
    small = file.stat().st_size <= 50 * 1000**2 and file.suffix != ".safetensors"
    oid = gitoid.blob_oid(file.read_bytes()) if small else ""
    return PlannedFile(path, file.stat().st_size, file_digest(file), oid)


def _paths(folder: Path) -> Iterable[str]:
    """Every file and every link below `folder`, sorted; links to folders are named, not entered."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        names = [name for name in files if name not in _SKIPPED] + links
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in names]
    return sorted(found)
