"""What the embedded Hub answers when it will not do something, before it becomes HTTP."""

from collections.abc import Mapping
from typing import Any


class RefusedError(Exception):
    """A request that is answered with `status`; `code` is the Hub's X-Error-Code, if it has one."""

    def __init__(
        self, status: int, message: str, code: str = "", body: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.body = dict(body or {})


def repo_not_found(repo_id: str, known_user: bool) -> RefusedError:
    """No such repository, or one that the asker may not see: both look the same from outside."""
    return RefusedError(
        404 if known_user else 401, f"Repository {repo_id} not found", "RepoNotFound"
    )


def gated(repo_id: str, known_user: bool) -> RefusedError:
    """Anybody may see the repository, but only those let in may have its files."""
    return RefusedError(
        403 if known_user else 401, f"Access to {repo_id} is restricted", "GatedRepo"
    )


def revision_not_found(revision: str) -> RefusedError:
    """No branch, tag or commit is called `revision`."""
    return RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(path: str) -> RefusedError:
    """The revision exists, but has no file `path`."""
    return RefusedError(404, f"Entry not found: {path}", "EntryNotFound")
