"""What is on the Hub now, and whether it is what a plan says; asks only, changes nothing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from evalkit.errors import PublishError, gist
from evalkit.hub.client import HubTarget, transport_errors
from evalkit.hub.plan import ReleasePlan
from evalkit.hub.receipts import Receipt

TRAILER = "Published-by: evalkit"
_AUTOMATIC = ".gitattributes"
Action = Literal["create", "update", "unchanged", "refuse", "unknown"]


@dataclass(frozen=True)
class RemoteRepo:
    """A repository as it is: head commit, privacy, and path -> (size, LFS sha256, git id).

    ours: whether evalkit made its newest commit.
    """

    head: str
    private: bool
    files: dict[str, tuple[int, str, str]]
    ours: bool

    @property
    def is_fresh(self) -> bool:
        """Whether it holds nothing but what every new repository holds."""
        return set(self.files) <= {_AUTOMATIC}


@dataclass(frozen=True)
class Outlook:
    """What publishing a plan would do, and why it is refused if it is."""

    plan: ReleasePlan
    action: Action
    remote: RemoteRepo | None
    reason: str = ""


def look(api: Any, repo_id: str, kind: str) -> RemoteRepo | None:
    """The repository as it is now, None where there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.repo_info(repo_id, repo_type=kind)
    except RepositoryNotFoundError:
        return None
    commits = api.list_repo_commits(repo_id, repo_type=kind, revision=info.sha)
    ours = bool(commits) and TRAILER in commits[0].message
    return RemoteRepo(info.sha, bool(info.private), files_at(api, repo_id, kind, info.sha), ours)


def files_at(api: Any, repo_id: str, kind: str, revision: str) -> dict[str, tuple[int, str, str]]:
    """Path -> (size in bytes, sha256 if it is an LFS file, git id) at a revision."""
    entries = api.list_repo_tree(repo_id, repo_type=kind, revision=revision, recursive=True)
    return {
        entry.path: (entry.size, entry.lfs.sha256 if entry.lfs else "", entry.blob_id)
        for entry in entries
        if hasattr(entry, "blob_id")
    }


def differences(plan: ReleasePlan, there: dict[str, tuple[int, str, str]]) -> list[str]:
    """One line for each file that is missing, other, or too many on the Hub."""
    lines = []
    for file in plan.files:
        size, sha256, git_oid = there.get(file.path, (-1, "", ""))
        if size < 0:
            lines.append(f"{file.path} is not there")
        elif (file.sha256 != sha256) if sha256 else (file.git_oid != git_oid):
            lines.append(f"{file.path} is another")
    return lines + [f"{path} is there too" for path in surplus(plan, there)]


def surplus(plan: ReleasePlan, there: dict[str, tuple[int, str, str]]) -> list[str]:
    """Files on the Hub that the plan does not hold."""
    return sorted(set(there) - {file.path for file in plan.files} - {_AUTOMATIC})


def is_as_left(receipt: Receipt, remote: RemoteRepo) -> bool:
    """Whether nobody else has committed since the publication that `receipt` tells of.

    The commits of another publication look like ours: what counts is the head. But an answer may
    have been lost: then our commit is there, and the receipt does not know it.
    """
    if receipt.stage == "planned":
        return remote.is_fresh  # it was being created when the run was cut
    known = (receipt.commit, receipt.parent)
    return remote.head in known or (not receipt.commit and remote.ours)


def outlook(api: Any, plan: ReleasePlan, receipt: Receipt | None, private: bool) -> Outlook:
    """What publishing `plan` would do now."""
    remote = look(api, plan.repo_id, plan.kind)
    if remote is None:
        return Outlook(plan, "create", None)
    if private and not remote.private:
        return Outlook(plan, "refuse", remote, "it is public, and a private one was asked for")
    if not differences(plan, remote.files):
        return Outlook(plan, "unchanged", remote)
    known = receipt is not None and receipt.made_here and remote.head == receipt.commit
    if remote.is_fresh or known or remote.ours:
        return Outlook(plan, "update", remote)
    return Outlook(plan, "refuse", remote, "its newest commit was not made by evalkit")


@contextmanager
def hub_errors(target: HubTarget, doing: str) -> Iterator[None]:
    """Turns what the client raises into a PublishError that says what was being done."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        answer = "does not know this token" if status == 401 else f"answered {_first(error)}"
        raise PublishError(f"{doing}: {target.endpoint} {answer}", _hint(status)) from error
    except LocalEntryNotFoundError as error:  # of a download, whatever kept it from coming
        raise PublishError(
            f"{doing}: {_first(error.__cause__ or error)}", "publish again: it reads back once more"
        ) from error
    except transport_errors() as error:
        raise PublishError(
            f"{doing}: cannot reach {target.endpoint}: {gist(error)}",
            "check the address and the network; the same command then goes on",
        ) from error
    except json.JSONDecodeError as error:
        raise PublishError(
            f"{doing}: {target.endpoint} does not answer as a Hub does",
            "check publish.endpoint: the public Hub is https://huggingface.co",
        ) from error
    except (RuntimeError, ValueError) as error:
        # The client wraps failed uploads of large files in RuntimeError, odd answers in ValueError.
        cause = f" ({_first(error.__cause__)})" if error.__cause__ else ""
        raise PublishError(f"{doing}: {_first(error)}{cause}", _hint(0)) from error
    except (LookupError, NameError) as error:
        # How the client fails on an answer that does not fit what it asked.
        raise PublishError(
            f"{doing}: the client could not use what {target.endpoint} answered: {gist(error)}",
            _hint(0),
        ) from error


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


def _hint(status: int) -> str:
    if status in (401, 403):
        return "use a token that may write there (`hf auth login`, or HF_TOKEN)"
    if status == 412:
        return "someone else committed meanwhile: look at the repository, then publish again"
    return "publish again: it goes on where it stopped"
