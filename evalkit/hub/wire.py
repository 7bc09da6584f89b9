"""The JSON that the Hub's protocol speaks, made from what the store holds.

Source: huggingface_hub 1.33.0, hf_api.py (ModelInfo, RepoFile, GitRefs, GitCommitInfo).
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from evalkit.hub import gitoid, metadata
from evalkit.hub.refused import entry_not_found
from evalkit.hub.repository import Commit, Entry, Repository
from evalkit.hub.store import Store
from evalkit.hub.tokens import User


def whoami(user: User) -> dict[str, Any]:
    """Answer of `whoami-v2`."""
    orgs = [{"type": "org", "id": org, "name": org, "fullname": org} for org in user.orgs]
    return {
        "type": "user", "id": user.name, "name": user.name, "fullname": user.name,
        "isPro": False, "orgs": orgs,
        "auth": {
            "type": "access_token", "accessToken": {"displayName": "evalkit", "role": "write"},
        },
    }  # fmt: skip


def repo_info(store: Store, repository: Repository, commit: Commit, blobs: bool) -> dict[str, Any]:
    """Answer of `api/models/ID`; `blobs`: with size and ids of each file."""
    settings = repository.settings()
    card = card_data(store, commit)
    info = {
        "_id": gitoid.blob_oid(repository.id.encode())[:24],
        "id": repository.id, "author": repository.namespace, "sha": commit.id,
        "private": settings["private"], "gated": settings["gated"], "disabled": False,
        "createdAt": settings["created_at"], "lastModified": commit.date,
        "downloads": 0, "likes": 0, "tags": tags(card), "cardData": card,
        "siblings": [_sibling(path, entry, blobs) for path, entry in commit.tree.items()],
        "usedStorage": sum(entry.size for entry in commit.tree.values()),
    }  # fmt: skip
    if repository.kind == "model":
        info |= {"modelId": repository.id, "config": _config(store, commit)}
        for key in ("pipeline_tag", "library_name", "model-index"):
            if key in card:
                info[key] = card[key]
    return info


def card_data(store: Store, commit: Commit) -> dict[str, Any]:
    """The front matter of a commit's README."""
    entry = commit.tree.get("README.md")
    if entry is None:
        return {}
    return metadata.read(store.read(entry).decode("utf-8", errors="replace"))


def tags(card: dict[str, Any]) -> list[str]:
    """The tags that the Hub derives from front matter."""
    found = [*_texts(card.get("tags"))]
    found += [*_texts(card.get("library_name")), *_texts(card.get("pipeline_tag"))]
    found += [*_texts(card.get("language"))]
    found += [f"license:{text}" for text in _texts(card.get("license"))]
    found += [f"dataset:{text}" for text in _texts(card.get("datasets"))]
    relation = card.get("base_model_relation")
    for base in _texts(card.get("base_model")):
        found += [f"base_model:{base}", *([f"base_model:{relation}:{base}"] if relation else [])]
    return list(dict.fromkeys(found))


def tree(commit: Commit, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """Answer of `tree`: files and folders below `folder`.

    Raises:
        RefusedError: there is no such folder.
    """
    prefix = f"{folder}/" if folder else ""
    oids = gitoid.tree_oids({path: entry.oid for path, entry in commit.tree.items()})
    if folder not in oids:
        raise entry_not_found(folder)
    rows = [folder_row(path, oids[path]) for path in oids if path and path.startswith(prefix)]
    rows += [file_row(path, e) for path, e in commit.tree.items() if path.startswith(prefix)]
    if not recursive:
        rows = [row for row in rows if "/" not in row["path"].removeprefix(prefix)]
    return sorted(rows, key=lambda row: row["path"])


def paths_info(commit: Commit, paths: Sequence[str]) -> list[dict[str, Any]]:
    """Answer of `paths-info`: those of `paths` that are there."""
    oids = gitoid.tree_oids({path: entry.oid for path, entry in commit.tree.items()})
    wanted = [path.strip("/") for path in paths]
    files = [file_row(path, commit.tree[path]) for path in wanted if path in commit.tree]
    return files + [folder_row(path, oids[path]) for path in wanted if path and path in oids]


def file_row(path: str, entry: Entry) -> dict[str, Any]:
    """A file as `tree` lists it."""
    row: dict[str, Any] = {"type": "file", "path": path, "size": entry.size, "oid": entry.oid}
    if entry.lfs:
        pointer_size = len(gitoid.lfs_pointer(entry.sha256, entry.size))
        row["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": pointer_size}
    return row


def folder_row(path: str, oid: str) -> dict[str, Any]:
    """A folder as `tree` lists it."""
    return {"type": "directory", "path": path, "size": 0, "oid": oid}


def refs(repository: Repository) -> dict[str, Any]:
    """Answer of `refs`; clients that did not ask for pull requests do not read them."""

    def rows(group: str, prefix: str) -> list[dict[str, str]]:
        named = sorted(repository.refs()[group].items())
        return [{"name": n, "ref": f"{prefix}/{n}", "targetCommit": c} for n, c in named]

    branches, tagged = rows("branches", "refs/heads"), rows("tags", "refs/tags")
    pulls = [{**row, "name": row["ref"]} for row in rows("pulls", "refs/pr")]
    return {"branches": branches, "tags": tagged, "converts": [], "pullRequests": pulls}


def commits(history: Iterable[Commit]) -> list[dict[str, Any]]:
    """Answer of `commits`."""
    return [
        {"id": c.id, "title": c.title, "message": c.message, "date": c.date,
         "authors": [{"user": c.author, "avatar": ""}], "parents": [c.parent] if c.parent else []}
        for c in history
    ]  # fmt: skip


def _sibling(path: str, entry: Entry, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    row = file_row(path, entry)
    lfs = row.get("lfs")
    details = {"lfs": {**lfs, "sha256": lfs["oid"]}} if lfs else {}
    return {"rfilename": path, "size": entry.size, "blobId": entry.oid, **details}


def _config(store: Store, commit: Commit) -> dict[str, Any]:
    entry = commit.tree.get("config.json")
    if entry is None or entry.lfs:
        return {}
    try:
        config = json.loads(store.read(entry), parse_constant=str)
    except ValueError:
        return {}
    keys = ("architectures", "model_type", "quantization_config")
    return {key: config[key] for key in keys if key in config} if isinstance(config, dict) else {}


def _texts(value: Any) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    return [item for item in listed if isinstance(item, str)]
