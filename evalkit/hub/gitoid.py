"""The ids that git itself would give to files, folders and commits, from their content alone.

Commit ids hold no clock and no host: the same history always has the same ids.
Source: git's object format (blob, tree, commit), https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
"""

import hashlib
from collections.abc import Mapping
from typing import Any

_FILE_MODE, _FOLDER_MODE = "100644", "40000"


def blob_oid(content: bytes) -> str:
    """git's sha1 of a file's content; what the Hub calls `oid` of a regular file."""
    return _object_oid("blob", content)


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The text that git stores in place of an LFS file.

    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    """
    spec = "https://git-lfs.github.com/spec/v1"
    return f"version {spec}\noid sha256:{sha256}\nsize {size}\n".encode()


def tree_oids(files: Mapping[str, str]) -> dict[str, str]:
    """Folder path -> git tree id for every folder of `files` (path -> blob oid); "" is the root."""
    nested: dict[str, Any] = {}
    for path, oid in files.items():
        *folders, name = path.split("/")
        node = nested
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = oid
    oids: dict[str, str] = {}
    _collect_trees("", nested, oids)
    return oids


def commit_oid(tree: str, parent: str | None, author: str, message: str) -> str:
    """The id of a commit, its author and committer dated at the epoch."""
    stamp = f"{author} <{author}@localhost> 0 +0000"
    lines = [f"tree {tree}", *([f"parent {parent}"] if parent else [])]
    lines += [f"author {stamp}", f"committer {stamp}", "", message]
    return _object_oid("commit", ("\n".join(lines) + "\n").encode())


def _collect_trees(path: str, node: Mapping[str, Any], oids: dict[str, str]) -> str:
    rows = []
    # git sorts a folder as if its name ended in a slash
    for name in sorted(node, key=lambda n: n + "/" if isinstance(node[n], dict) else n):
        child = node[name]
        if isinstance(child, dict):
            oid = _collect_trees(f"{path}/{name}" if path else name, child, oids)
            mode = _FOLDER_MODE
        else:
            oid, mode = child, _FILE_MODE
        rows.append(f"{mode} {name}\0".encode() + bytes.fromhex(oid))
    oids[path] = _object_oid("tree", b"".join(rows))
    return oids[path]


def _object_oid(kind: str, content: bytes) -> str:
    head = f"{kind} {len(content)}\0".encode()
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()
