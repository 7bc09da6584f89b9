"""Takes back what a publication did: its own repositories are deleted, others get a revert commit.

What somebody else has committed since is never touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evalkit.errors import PublishError
from evalkit.hub.client import HubTarget, open_api
from evalkit.hub.receipts import Receipt, Receipts
from evalkit.hub.remote import TRAILER, RemoteRepo, files_at, hub_errors, is_as_left, look

Action = Literal["delete", "revert", "nothing", "leave"]
REVERTED = "Reverted-by: evalkit"


@dataclass(frozen=True)
class Undoing:
    """What rolling back does with one repository, and why."""

    repo_id: str
    kind: str
    action: Action
    reason: str


def rollback(target: HubTarget, *, receipts: Path, dry_run: bool = False) -> list[Undoing]:
    """Undoes the publication whose journal is in `receipts`; what it did, by repository.

    A repository that this publication created is deleted, if nobody else has committed to it. In
    any other the last publication is undone by one commit with the files from before. The family's
    collection goes if this publication made it. `leave`: somebody has committed since.

    Raises:
        PublishError: the Hub cannot be reached, or refuses; roll back again.
    """
    journal = Receipts(receipts)
    with open_api(target) as api:
        found = [
            (receipt, _outlook(api, target, receipt))
            for receipt in journal.all(target.name)
            if receipt.stage != "rolled back"
        ]
        if not dry_run:
            for receipt, undoing in found:
                _undo(api, target, receipt, undoing, journal)
            _remove_collection(api, target, journal)
    return [undoing for _, undoing in found]


def _outlook(api: Any, target: HubTarget, receipt: Receipt) -> Undoing:
    with hub_errors(target, f"looking at {receipt.repo_id}"):
        remote = look(api, receipt.repo_id, receipt.kind)
        action, reason = _judged(api, receipt, remote)
    return Undoing(receipt.repo_id, receipt.kind, action, reason)


def _judged(api: Any, receipt: Receipt, remote: RemoteRepo | None) -> tuple[Action, str]:
    if remote is None:
        return "nothing", "it does not exist"
    if receipt.made_here and is_as_left(receipt, remote):
        return "delete", "this publication created it"
    if receipt.made_here:
        return "leave", "somebody else has committed to it since"
    if remote.head == receipt.parent or not receipt.parent:
        return "nothing", "this publication has changed nothing there"
    before = files_at(api, receipt.repo_id, receipt.kind, receipt.parent)
    if before == remote.files:
        return "nothing", "it holds what it held before"
    if is_as_left(receipt, remote):
        return "revert", f"to {receipt.parent[:12]}, as it was before"
    return "leave", "somebody else has committed to it since"


def _undo(
    api: Any, target: HubTarget, receipt: Receipt, undoing: Undoing, journal: Receipts
) -> None:
    if undoing.action == "leave":
        return
    if undoing.action == "delete":
        with hub_errors(target, f"deleting {receipt.repo_id}"):
            api.delete_repo(receipt.repo_id, repo_type=receipt.kind, missing_ok=True)
    if undoing.action == "revert":
        with hub_errors(target, f"reverting {receipt.repo_id}"):
            _revert(api, receipt)
    journal.put(receipt.at("rolled back"))


def _revert(api: Any, receipt: Receipt) -> None:
    """One commit that brings back the files of `receipt.parent`."""
    from huggingface_hub import CommitOperationCopy, CommitOperationDelete

    repo_id, kind, parent = receipt.repo_id, receipt.kind, receipt.parent
    remote = look(api, repo_id, kind)
    assert remote is not None
    before = files_at(api, repo_id, kind, parent)
    operations: list[Any] = [
        CommitOperationCopy(path, path, src_revision=parent)
        for path, entry in before.items()
        if remote.files.get(path) != entry
    ]
    gone: Sequence[str] = sorted(set(remote.files) - set(before))
    operations += [CommitOperationDelete(path, is_folder=False) for path in gone]
    commits = api.list_repo_commits(repo_id, repo_type=kind, revision=parent)
    # What evalkit had made before may be published over again; what others made may not.
    was_ours = bool(commits) and TRAILER in commits[0].message
    api.create_commit(
        repo_id,
        operations,
        repo_type=kind,
        commit_message=f"Revert to {parent[:12]}",
        commit_description=TRAILER if was_ours else REVERTED,
        parent_commit=remote.head,
    )
    now = look(api, repo_id, kind)
    if now is None or now.files != before:
        raise PublishError(f"{repo_id} is not what it was before", "look at its history")


def _remove_collection(api: Any, target: HubTarget, journal: Receipts) -> None:
    if not journal.made_collection(target.name):
        return
    slug = journal.collection(target.name)
    if slug:
        with hub_errors(target, "removing the collection"):
            api.delete_collection(slug, missing_ok=True)
    journal.forget_collection()
