"""Puts one plan on the Hub as one commit; onto a public repository only once it was read back."""

from collections.abc import Callable
from typing import Any, TypeVar

from evalkit.errors import PublishError
from evalkit.hub.client import HubTarget, transport_errors
from evalkit.hub.plan import ReleasePlan
from evalkit.hub.readback import verify
from evalkit.hub.remote import (
    TRAILER,
    RemoteRepo,
    differences,
    files_at,
    hub_errors,
    look,
    surplus,
)

T = TypeVar("T")
_ATTEMPTS = 3


def create(api: Any, target: HubTarget, plan: ReleasePlan) -> RemoteRepo:
    """Makes the repository, private; what it then is.

    Raises:
        PublishError: it cannot be made, somebody else has just made it, or it is public all the
            same.
    """
    with hub_errors(target, f"creating {plan.repo_id}"):
        api.create_repo(plan.repo_id, repo_type=plan.kind, private=True)
        remote = look(api, plan.repo_id, plan.kind)
    if remote is None or not remote.private or not remote.is_fresh:
        raise PublishError(
            f"{plan.repo_id} was created, but is not a private repository with nothing in it",
            "look at it on the Hub before publishing again",
        )
    return remote


def push(api: Any, target: HubTarget, plan: ReleasePlan, remote: RemoteRepo) -> str:
    """Commits all of `plan` onto `remote`'s head at once; the id of the commit that holds it.

    Files that the plan does not have are removed by the same commit. A public repository changes
    only after the commit was read back: it is made as a pull request, and merged.

    Raises:
        PublishError: the branch moved meanwhile, what arrived is not what was sent, or the Hub
            cannot be reached.
    """
    if remote.private:
        return _commit_to_main(api, target, plan, remote)
    number = _pull_request(api, target, plan, remote)
    with hub_errors(target, f"reading pull request {number} of {plan.repo_id}"):
        proposed = api.repo_info(plan.repo_id, repo_type=plan.kind, revision=f"refs/pr/{number}")
    verify(api, target, plan, proposed.sha)
    return _merge(api, target, plan, remote, number)


def _commit_to_main(api: Any, target: HubTarget, plan: ReleasePlan, remote: RemoteRepo) -> str:
    def arrived() -> str | None:
        now = _now(api, target, plan)
        return None if differences(plan, now.files) else now.head

    def send() -> str:
        return str(_commit(api, plan, remote).oid)

    return _once(target, f"publishing {plan.repo_id}", send, arrived)


def _pull_request(api: Any, target: HubTarget, plan: ReleasePlan, remote: RemoteRepo) -> int:
    """The open pull request that holds exactly `plan`, made when there is none; its number."""

    def arrived() -> int | None:
        return _open_pull_request(api, target, plan, remote)

    def send() -> int:
        return int(_commit(api, plan, remote, create_pr=True).pr_num)

    found = arrived()
    return found or _once(target, f"publishing {plan.repo_id}", send, arrived)


def _open_pull_request(
    api: Any, target: HubTarget, plan: ReleasePlan, remote: RemoteRepo
) -> int | None:
    """That of an earlier attempt, if it still begins at main's head."""
    with hub_errors(target, f"looking for pull requests of {plan.repo_id}"):
        for one in api.get_repo_discussions(
            plan.repo_id,
            repo_type=plan.kind,
            discussion_type="pull_request",
            discussion_status="open",
        ):
            if one.title != _title(plan):
                continue
            commits = api.list_repo_commits(
                plan.repo_id, repo_type=plan.kind, revision=one.git_reference
            )
            begins_here = len(commits) > 1 and commits[1].commit_id == remote.head
            files = files_at(api, plan.repo_id, plan.kind, one.git_reference)
            if begins_here and not differences(plan, files):
                return int(one.num)
    return None


def _merge(api: Any, target: HubTarget, plan: ReleasePlan, remote: RemoteRepo, number: int) -> str:
    def arrived() -> str | None:
        now = _now(api, target, plan)
        return None if differences(plan, now.files) else now.head

    def send() -> str:
        told = api.get_discussion_details(plan.repo_id, number, repo_type=plan.kind)
        if told.status == "draft":  # as Hubs may begin what a program opens
            api.change_discussion_status(plan.repo_id, number, "open", repo_type=plan.kind)
        api.merge_pull_request(plan.repo_id, number, repo_type=plan.kind)
        head = arrived()
        if head is None:
            raise PublishError(
                f"{plan.repo_id} holds other files too: somebody committed meanwhile",
                "look at the repository, then publish again",
            )
        return head

    return _once(target, f"merging pull request {number} of {plan.repo_id}", send, arrived)


def _once(
    target: HubTarget, doing: str, send: Callable[[], T], arrived: Callable[[], T | None]
) -> T:
    """What `send` gives. When an answer gets lost, looks before anything is sent twice."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with hub_errors(target, doing):
                return send()
        except PublishError as error:
            done = arrived()
            if done is not None:
                return done  # it had arrived; only the answer was lost
            if attempt == _ATTEMPTS or not _may_help(error):
                raise
    raise AssertionError("unreachable")


def _now(api: Any, target: HubTarget, plan: ReleasePlan) -> RemoteRepo:
    with hub_errors(target, f"looking what became of {plan.repo_id}"):
        now = look(api, plan.repo_id, plan.kind)
    if now is None:
        raise PublishError(f"{plan.repo_id} is gone", "publish again: that makes it anew")
    return now


def _commit(api: Any, plan: ReleasePlan, remote: RemoteRepo, create_pr: bool = False) -> Any:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [
        CommitOperationAdd(file.path, str(plan.folder / file.path)) for file in plan.files
    ]
    gone = surplus(plan, remote.files)
    operations += [CommitOperationDelete(path, is_folder=False) for path in gone]
    return api.create_commit(
        plan.repo_id,
        operations,
        repo_type=plan.kind,
        commit_message=_title(plan),
        commit_description=TRAILER,
        parent_commit=remote.head,
        create_pr=create_pr,
        num_threads=2,
    )


def _title(plan: ReleasePlan) -> str:
    return f"Release {plan.checkpoint}"


def _may_help(error: PublishError) -> bool:
    """Whether sending once more can end otherwise: not against a clear refusal."""
    if isinstance(error.__cause__, transport_errors()):
        return True
    status = getattr(getattr(error.__cause__, "response", None), "status_code", 0)
    return status >= 500 or status == 429
