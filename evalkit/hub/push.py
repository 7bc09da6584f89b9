"""Puts one plan on the Hub as one commit, and reads back what arrived."""

import json
import tempfile
from pathlib import Path
from typing import Any

from evalkit.errors import PublishError
from evalkit.hub import metadata
from evalkit.hub.client import HubTarget, transport_errors
from evalkit.hub.plan import ReleasePlan
from evalkit.hub.remote import (
    TRAILER,
    RemoteRepo,
    differences,
    files_at,
    hub_errors,
    look,
    surplus,
)
from evalkit.loading import file_digest

_ATTEMPTS = 3


def create(api: Any, target: HubTarget, plan: ReleasePlan) -> RemoteRepo:
    """Makes the repository, private; what it then is.

    Raises:
        PublishError: it cannot be made, or is public all the same.
    """
    with hub_errors(target, f"creating {plan.repo_id}"):
        api.create_repo(plan.repo_id, repo_type=plan.kind, private=True, exist_ok=True)
        remote = look(api, plan.repo_id, plan.kind)
    if remote is None or not remote.private:
        raise PublishError(
            f"{plan.repo_id} was created, but is not a private repository",
            "look at it on the Hub before publishing again",
        )
    return remote


def push(api: Any, target: HubTarget, plan: ReleasePlan, remote: RemoteRepo) -> str:
    """Commits all of `plan` onto `remote`'s head at once; the id of the commit that holds it.

    Files that the plan does not have are removed by the same commit. When the answer gets lost,
    the head is read again before anything is sent twice.

    Raises:
        PublishError: the branch moved meanwhile, or the Hub cannot be reached.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with hub_errors(target, f"publishing {plan.repo_id}"):
                return _commit(api, plan, remote)
        except PublishError as error:
            with hub_errors(target, f"looking what became of {plan.repo_id}"):
                now = look(api, plan.repo_id, plan.kind)
            if now is not None and not differences(plan, now.files):
                return now.head  # it had arrived; only the answer was lost
            moved = now is None or now.head != remote.head
            if moved or attempt == _ATTEMPTS or not _may_help(error):
                raise
    raise AssertionError("unreachable")


def verify(api: Any, target: HubTarget, plan: ReleasePlan, commit: str) -> None:
    """Reads `commit` back: every checksum, the card, the configuration.

    Raises:
        PublishError: the Hub does not hold what was planned.
    """
    with hub_errors(target, f"reading {plan.repo_id} back"):
        wrong = differences(plan, files_at(api, plan.repo_id, plan.kind, commit))
        report = api.verify_repo_checksums(
            plan.repo_id, repo_type=plan.kind, revision=commit, local_dir=plan.folder
        )
        wrong += [f"{row['path']} has another checksum" for row in report.mismatches]
        wrong += _read_back(api, plan, commit)
    if wrong:
        raise PublishError(
            f"{plan.repo_id} at {commit} is not what was planned: {'; '.join(wrong)}",
            "it stays private; publish again",
        )


def _commit(api: Any, plan: ReleasePlan, remote: RemoteRepo) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [
        CommitOperationAdd(file.path, str(plan.folder / file.path)) for file in plan.files
    ]
    gone = surplus(plan, remote.files)
    operations += [CommitOperationDelete(path, is_folder=False) for path in gone]
    done = api.create_commit(
        plan.repo_id,
        operations,
        repo_type=plan.kind,
        commit_message=f"Release {plan.checkpoint}",
        commit_description=TRAILER,
        parent_commit=remote.head,
        num_threads=2,
    )
    return str(done.oid)


def _may_help(error: PublishError) -> bool:
    """Whether sending once more can end otherwise: not against a clear refusal."""
    if isinstance(error.__cause__, transport_errors()):
        return True
    status = getattr(getattr(error.__cause__, "response", None), "status_code", 0)
    return status >= 500 or status == 429


def _read_back(api: Any, plan: ReleasePlan, commit: str) -> list[str]:
    names = ["README.md", *(["config.json"] if plan.kind == "model" else [])]
    digests, wrong = plan.digests(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            file = Path(
                api.hf_hub_download(
                    plan.repo_id, name, repo_type=plan.kind, revision=commit, local_dir=folder
                )
            )
            if file_digest(file) != digests[name]:
                wrong.append(f"{name} downloads as another file")
            elif name == "README.md" and not metadata.read(file.read_text("utf-8")):
                wrong.append("README.md has no readable front matter")
            elif name == "config.json" and not json.loads(file.read_text("utf-8")):
                wrong.append("config.json is empty")
    return wrong
