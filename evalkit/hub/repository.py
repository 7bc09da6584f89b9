"""One repository in the folder: its settings, its branches and tags, and its commits.

`refs.json` is replaced last in every change, so that it is the one atomic moment: a server killed
before it leaves only commits and contents that nothing points to.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.durable import read_json, write_json
from evalkit.hub import gitoid
from evalkit.hub.refused import RefusedError, entry_not_found, revision_not_found

MAIN = "main"
_COMMIT_ID = re.compile(r"[0-9a-f]{7,40}")
_PULL = "refs/pr/"
_REF_NAME = re.compile(r"(?!.*(\.\.|//|/\.|\.lock(/|$)))[A-Za-z0-9_][A-Za-z0-9._/+-]{0,120}")


class Entry(NamedTuple):
    """A file of a tree. oid: git's id of what git would store (of an LFS file, its pointer)."""

    sha256: str
    size: int
    lfs: bool
    oid: str


@dataclass(frozen=True)
class Commit:
    """One state of all files, and where it came from. `date` is no part of the id."""

    id: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    tree: Mapping[str, Entry]


class Change(NamedTuple):
    """What a commit does: files to put, paths to remove, folders to remove with all in them."""

    put: Mapping[str, Entry]
    remove: Sequence[str] = ()
    remove_folders: Sequence[str] = ()


class Repository:
    """A repository of `kind` `model` or `dataset`; `id` is `namespace/name`."""

    def __init__(self, folder: Path, kind: str, repo_id: str, lock: threading.RLock) -> None:
        self.folder = folder
        self.kind = kind
        self.id = repo_id
        self._lock = lock

    @property
    def namespace(self) -> str:
        """The user or organisation it belongs to."""
        return self.id.split("/")[0]

    @property
    def exists(self) -> bool:
        """Whether it has been created (and not been deleted)."""
        return (self.folder / "refs.json").is_file()

    def settings(self) -> dict[str, Any]:
        """`private`, `gated`, `created_at`."""
        settings: dict[str, Any] = read_json(self.folder / "repo.json")
        return settings

    def update_settings(self, **changes: Any) -> None:
        """Changes some settings."""
        with self._lock:
            write_json(self.folder / "repo.json", {**self.settings(), **changes})

    def create(self, private: bool, author: str, first: Mapping[str, Entry]) -> None:
        """Makes it, with the files `first` in a first commit; exists from the moment this ends."""
        settings = {"private": private, "gated": False, "created_at": now()}
        write_json(self.folder / "repo.json", settings)
        commit = self._write_commit(None, "initial commit", "", author, first)
        self._write_refs({"branches": {MAIN: commit.id}, "tags": {}})

    def refs(self) -> dict[str, dict[str, str]]:
        """`branches`, `tags` and `pulls` (pull requests by number), each name -> commit id.

        `merged`: number of a pull request -> the commit of main that brought it in.
        """
        refs: dict[str, dict[str, str]] = read_json(self.folder / "refs.json")
        return {"pulls": {}, "merged": {}, **refs}

    def resolve(self, revision: str) -> str:
        """The commit id that a branch, a tag, a full ref or a commit id (or its start) names.

        Raises:
            RefusedError: none does (RevisionNotFound).
        """
        refs = self.refs()
        if revision.startswith(_PULL) and revision.removeprefix(_PULL) in refs["pulls"]:
            return refs["pulls"][revision.removeprefix(_PULL)]
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        for group in ("branches", "tags"):
            if name in refs[group]:
                return refs[group][name]
        if _COMMIT_ID.fullmatch(revision):
            found = [file.stem for file in self.folder.glob(f"commits/{revision}*.json")]
            if len(found) == 1:
                return found[0]
        raise revision_not_found(revision)

    def commit_at(self, revision: str) -> Commit:
        """The commit that `revision` names, with the error of `resolve`."""
        value = read_json(self.folder / "commits" / f"{self.resolve(revision)}.json")
        return Commit(**{**value, "tree": {p: Entry(*row) for p, row in value["tree"].items()}})

    def entry(self, revision: str, path: str) -> tuple[Commit, Entry]:
        """One file of a revision.

        Raises:
            RefusedError: no such revision or no such file.
        """
        commit = self.commit_at(revision)
        if path not in commit.tree:
            raise entry_not_found(path)
        return commit, commit.tree[path]

    def history(self, revision: str) -> list[Commit]:
        """The commits of `revision`, newest first."""
        commits = [self.commit_at(revision)]
        while commits[-1].parent:
            commits.append(self.commit_at(commits[-1].parent))
        return commits

    def commit(
        self,
        branch: str,
        change: Change,
        *,
        title: str,
        message: str,
        author: str,
        parent: str | None = None,
    ) -> Commit:
        """Adds a commit to `branch`, or to a pull request (`refs/pr/N`), atomically.

        Raises:
            RefusedError: no such branch (404); `parent` is given and no longer its head (412);
                a path to remove is not there (404); paths that cannot lie side by side (400).
        """
        with self._lock:
            refs = self.refs()
            group = "pulls" if branch.startswith(_PULL) else "branches"
            name = branch.removeprefix(_PULL).removeprefix("refs/heads/")
            if name not in refs[group]:
                raise revision_not_found(branch)
            head = self.commit_at(refs[group][name])
            if parent is not None and not head.id.startswith(parent):
                raise RefusedError(412, f"The branch moved: its head is {head.id}, not {parent}")
            tree = _changed(head.tree, change)
            commit = self._write_commit(head.id, title, message, author, tree)
            refs[group][name] = commit.id
            self._write_refs(refs)
            return commit

    def propose(
        self,
        number: int,
        change: Change,
        *,
        title: str,
        message: str,
        author: str,
        parent: str | None = None,
    ) -> Commit:
        """Begins the pull request `number` with a commit onto `parent`, by default main's head.

        Raises:
            RefusedError: as for `commit`; an old parent is not refused.
        """
        with self._lock:
            refs = self.refs()
            base = self.commit_at(parent or MAIN)
            tree = _changed(base.tree, change)
            commit = self._write_commit(base.id, title, message, author, tree)
            refs["pulls"][str(number)] = commit.id
            self._write_refs(refs)
            return commit

    def merge(self, number: int, *, title: str, author: str) -> Commit:
        """Brings what a pull request changed into main, as one commit.

        Raises:
            RefusedError: there is none (404), it is merged already, or main has changed the same
                files since (409).
        """
        with self._lock:
            refs = self.refs()
            if str(number) not in refs["pulls"]:
                raise revision_not_found(f"{_PULL}{number}")
            if str(number) in refs["merged"]:
                raise RefusedError(409, f"pull request {number} is merged already")
            proposed, head = self.commit_at(refs["pulls"][str(number)]), self.commit_at(MAIN)
            tree = _merged(self._common(proposed, head).tree, head.tree, proposed.tree)
            commit = self._write_commit(head.id, title, proposed.message, author, tree)
            refs["branches"][MAIN] = refs["merged"][str(number)] = commit.id
            self._write_refs(refs)
            return commit

    def conflicts(self, number: int) -> list[str]:
        """Paths that both a pull request and main have changed since it began, differently."""
        proposed, head = self.commit_at(f"{_PULL}{number}"), self.commit_at(MAIN)
        return _conflicts(self._common(proposed, head).tree, head.tree, proposed.tree)

    def _common(self, proposed: Commit, head: Commit) -> Commit:
        """The newest commit that both come from: there is one, for both come from the first."""
        known = {commit.id for commit in self.history(head.id)}
        return next(commit for commit in self.history(proposed.id) if commit.id in known)

    def create_ref(self, group: str, name: str, revision: str) -> None:
        """A new branch (`group` "branches") or tag ("tags") at `revision`.

        Raises:
            RefusedError: it is there already (409), or its name is not one git allows (400).
        """
        if not _REF_NAME.fullmatch(name):
            raise RefusedError(400, f"'{name}' cannot be the name of a branch or tag")
        with self._lock:
            refs = self.refs()
            if name in refs[group]:
                raise RefusedError(409, f"Reference already exists: {name}")
            refs[group][name] = self.resolve(revision)
            self._write_refs(refs)

    def delete_ref(self, group: str, name: str) -> None:
        """Removes a branch or tag.

        Raises:
            RefusedError: there is none (404), or it is the main branch (403).
        """
        with self._lock:
            refs = self.refs()
            if group == "branches" and name == MAIN:
                raise RefusedError(403, "the main branch cannot be deleted")
            if name not in refs[group]:
                raise revision_not_found(name)
            del refs[group][name]
            self._write_refs(refs)

    def _write_refs(self, refs: Mapping[str, Any]) -> None:
        write_json(self.folder / "refs.json", refs)

    def _write_commit(
        self, parent: str | None, title: str, message: str, author: str, tree: Mapping[str, Entry]
    ) -> Commit:
        root = gitoid.tree_oids({path: entry.oid for path, entry in tree.items()})[""]
        text = f"{title}\n\n{message}".strip()
        commit = Commit(
            gitoid.commit_oid(root, parent, author, text),
            parent, title, message, author, now(), tree,
        )  # fmt: skip
        value = {**vars(commit), "tree": {path: list(entry) for path, entry in tree.items()}}
        write_json(self.folder / "commits" / f"{commit.id}.json", value)
        return commit


def now() -> str:
    """The time, as the Hub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def check_path(path: str) -> str:
    """`path` itself when a repository may hold a file of that name.

    Raises:
        RefusedError: it is absolute, climbs up, or touches git's own folder (status 400).
    """
    parts = path.split("/")
    bad = any(part in ("", ".", "..", ".git") or "\\" in part or "\0" in part for part in parts)
    if bad or len(path) > 1000 or any(ord(character) < 32 for character in path):
        raise RefusedError(400, f"{path!r} cannot be a path in a repository")
    return path


def _conflicts(
    base: Mapping[str, Entry], ours: Mapping[str, Entry], theirs: Mapping[str, Entry]
) -> list[str]:
    paths = sorted({*base, *ours, *theirs})
    rows = [(path, base.get(path), ours.get(path), theirs.get(path)) for path in paths]
    return [path for path, was, our, their in rows if our != was != their and our != their]


def _merged(
    base: Mapping[str, Entry], ours: Mapping[str, Entry], theirs: Mapping[str, Entry]
) -> dict[str, Entry]:
    conflicts = _conflicts(base, ours, theirs)
    if conflicts:
        raise RefusedError(409, f"main has changed these files since: {', '.join(conflicts)}")
    put = {path: entry for path, entry in theirs.items() if base.get(path) != entry}
    gone = [path for path in base if path not in theirs and path in ours]
    return _changed(ours, Change(put, gone))


def _changed(tree: Mapping[str, Entry], change: Change) -> dict[str, Entry]:
    new = dict(tree)
    for path in change.remove:
        if new.pop(path, None) is None:
            raise RefusedError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    for folder in change.remove_folders:
        inside = [path for path in new if path.startswith(folder.rstrip("/") + "/")]
        if not inside:
            raise RefusedError(
                404, f"A folder with this name doesn't exist: {folder}", "EntryNotFound"
            )
        for path in inside:
            del new[path]
    new.update({check_path(path): entry for path, entry in change.put.items()})
    folders = {path[:at] for path in new for at, char in enumerate(path) if char == "/"}
    clash = sorted(folders & set(new))
    if clash:
        raise RefusedError(400, f"{clash[0]} cannot be a file and a folder")
    return dict(sorted(new.items()))
