"""Publishes a family: every repository checked first, pushed private, read back, public last."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.console import no_progress
from evalkit.errors import PublishError
from evalkit.hub import push
from evalkit.hub.client import HubTarget, open_api
from evalkit.hub.plan import ReleasePlan, name_problems
from evalkit.hub.readback import verify
from evalkit.hub.receipts import Receipt, Receipts, Stage
from evalkit.hub.remote import Outlook, RemoteRepo, hub_errors, is_as_left, outlook
from evalkit.hub.tagging import put_tag
from evalkit.records import Release
from evalkit.roles import Progress


@dataclass(frozen=True)
class Options:
    """How a family is published.

    collection: title of its collection, none if empty.
    replace: also over repositories whose newest commit evalkit did not make.
    tag: what names the first release of each repository, none if empty; see `put_tag`.
    """

    collection: str = ""
    replace: bool = False
    tag: str = ""


def check_rights(target: HubTarget, repo_ids: Sequence[str]) -> None:
    """Returns if `target`'s Hub answers and its token may write all these repositories.

    Asks the Hub who the token belongs to, and changes nothing.

    Raises:
        PrerequisiteError: huggingface_hub is not installed.
        PublishError: a name is impossible or there twice, the Hub cannot be reached, or the token
            is unknown, only reads, or belongs to someone else.
    """
    with open_api(target) as api:
        _check_rights(api, target, repo_ids)


def publish(
    plans: Sequence[ReleasePlan],
    target: HubTarget,
    *,
    receipts: Path,
    progress: Progress = no_progress,
    options: Options = Options(),
) -> list[Release]:
    """Publishes `plans` in order; one Release each, equal between equal runs but for `commit`.

    Each repository gets one commit with weights and card together, or none when it holds the plan
    already. receipts: a folder of its own for this family; with it a run that was cut goes on.

    Raises:
        PublishError: the token, a name, or what is on the Hub forbids it (nothing was sent), or
            the Hub failed midway (publish again).
    """
    if not plans:
        return []
    with open_api(target) as api:
        _check_rights(api, target, [plan.repo_id for plan in plans])
        journal = Receipts(receipts)
        outlooks = _outlooks(api, target, plans, journal)
        _refuse(outlooks, options.replace)
        done = []
        for number, seen in enumerate(outlooks):
            progress(number, len(plans), seen.plan.repo_id)
            done.append(_release(api, target, seen, journal))
        if options.tag:
            done = [
                _tag(api, target, plan, receipt, journal, options.tag)
                for plan, receipt in zip(plans, done, strict=True)
            ]
        if options.collection:
            _collect(api, target, plans, journal, options)
        if not target.private:
            for plan, receipt in zip(plans, done, strict=True):
                _open(api, target, plan, receipt, journal)
        progress(len(plans), len(plans), "published")
    return [_record(target, plan, receipt) for plan, receipt in zip(plans, done, strict=True)]


def preview(
    plans: Sequence[ReleasePlan], target: HubTarget | None, *, receipts: Path
) -> list[Outlook]:
    """What publishing `plans` would do now; asks the Hub only, and changes nothing.

    target: None for a Hub that does not exist yet.

    Raises:
        PublishError: the token or a name forbids it, or the Hub cannot be reached.
    """
    if target is None:
        return [Outlook(plan, "create", None) for plan in plans]
    with open_api(target) as api:
        _check_rights(api, target, [plan.repo_id for plan in plans])
        return _outlooks(api, target, plans, Receipts(receipts))


def _check_rights(api: Any, target: HubTarget, repo_ids: Sequence[str]) -> None:
    for problem in (problem for repo_id in repo_ids for problem in name_problems(repo_id)):
        raise PublishError(f"{problem.where} {problem.message}", problem.hint)
    if len(set(repo_ids)) != len(repo_ids):
        raise PublishError("two releases of the family have the same repository name", "rename one")
    with hub_errors(target, "asking who the token belongs to"):
        user = api.whoami()
    own = {user["name"], *(org["name"] for org in user.get("orgs", []))}
    strange = sorted({name.split("/")[0] for name in repo_ids} - own)
    if strange:
        raise PublishError(
            f"the token is {user['name']}'s and may not write under {', '.join(strange)}",
            f"set publish.namespace to one of: {', '.join(sorted(own))}",
        )
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise PublishError(
            f"the token of {user['name']} may only read",
            "make one that may write, and give it with `hf auth login` or HF_TOKEN",
        )


def _outlooks(
    api: Any, target: HubTarget, plans: Sequence[ReleasePlan], journal: Receipts
) -> list[Outlook]:
    with hub_errors(target, "looking at what is on the Hub"):
        return [
            outlook(api, plan, journal.get(plan.repo_id, target.name), target.private)
            for plan in plans
        ]


def _refuse(outlooks: Sequence[Outlook], replace: bool) -> None:
    def refused(seen: Outlook) -> bool:
        forced = replace and seen.reason.startswith("its newest commit")
        return seen.action == "refuse" and not forced

    lines = [f"{seen.plan.repo_id}: {seen.reason}" for seen in outlooks if refused(seen)]
    if lines:
        raise PublishError(
            "nothing was published, for\n  " + "\n  ".join(lines),
            "choose another namespace or name, or --replace to commit over them",
        )


def _release(api: Any, target: HubTarget, seen: Outlook, journal: Receipts) -> Receipt:
    """One repository from wherever it stands to pushed and read back."""
    plan, remote = seen.plan, seen.remote
    receipt = journal.get(plan.repo_id, target.name)
    made_here = remote is None or _made_here(receipt, remote)
    if remote is None:
        # Before creating it, so that a kill in between does not hide who made it.
        journal.put(Receipt(plan.repo_id, target.name, True, "", "planned", kind=plan.kind))
        remote = push.create(api, target, plan)
    if receipt is not None and receipt.commit == remote.head and _finished(receipt, plan):
        return receipt
    # Of what an earlier attempt committed, the head before is known from its receipt alone.
    cut_off = receipt is not None and receipt.stage in ("created", "pushed")
    parent = receipt.parent if receipt and cut_off and seen.action == "unchanged" else remote.head
    begun = Receipt(plan.repo_id, target.name, made_here, parent, "created", kind=plan.kind)
    begun = journal.put(begun)
    unchanged = seen.action == "unchanged"
    commit = remote.head if unchanged else push.push(api, target, plan, remote)
    begun = journal.put(begun.at("pushed", commit=commit, files=plan.digests()))
    verify(api, target, plan, commit)
    return journal.put(begun.at("verified"))


def _made_here(receipt: Receipt | None, remote: RemoteRepo) -> bool:
    """Whether a repository is the one that a receipt says this publication created."""
    if receipt is None or not receipt.made_here or receipt.stage == "rolled back":
        return False
    return is_as_left(receipt, remote)


def _finished(receipt: Receipt, plan: ReleasePlan) -> bool:
    return receipt.stage in ("verified", "tagged", "public") and receipt.files == plan.digests()


def _tag(
    api: Any, target: HubTarget, plan: ReleasePlan, receipt: Receipt, journal: Receipts, tag: str
) -> Receipt:
    found = put_tag(api, target, plan, receipt.commit, tag)
    stage: Stage = "public" if receipt.stage == "public" else "tagged"
    return journal.put(receipt.at(stage, tag=found))


def _collect(
    api: Any, target: HubTarget, plans: Sequence[ReleasePlan], journal: Receipts, options: Options
) -> None:
    """The family's collection, each repository in order with its note."""
    with hub_errors(target, f"making the collection {options.collection!r}"):
        found = _collection(api, target, plans[0], journal, options)
        listed = {item.item_id: item for item in found.items}
        for plan in plans:
            item = listed.get(plan.repo_id)
            if item is None:
                api.add_collection_item(
                    found.slug, plan.repo_id, plan.kind, note=plan.note or None, exists_ok=True
                )
            elif plan.note and item.note != plan.note:
                api.update_collection_item(found.slug, item.item_object_id, note=plan.note)
        if found.private and not target.private:
            api.update_collection_metadata(found.slug, private=False)


def _collection(
    api: Any, target: HubTarget, first: ReleasePlan, journal: Receipts, options: Options
) -> Any:
    from huggingface_hub.errors import HfHubHTTPError

    slug = journal.collection(target.name)
    if slug:
        try:
            return api.get_collection(slug)
        except HfHubHTTPError as error:
            if error.response.status_code != 404:
                raise
        journal.forget_collection()
    namespace = first.repo_id.split("/")[0]
    if not journal.made_collection(target.name):
        # Noted before it is made, so that a kill in between does not hide who made it.
        titles = {one.title for one in api.list_collections(owner=namespace)}
        journal.put_collection(target.name, "", made_here=options.collection not in titles)
    found = api.create_collection(
        options.collection, namespace=namespace, private=target.private, exists_ok=True
    )
    journal.put_collection(target.name, found.slug, journal.made_collection(target.name))
    return found


def _open(
    api: Any, target: HubTarget, plan: ReleasePlan, receipt: Receipt, journal: Receipts
) -> None:
    with hub_errors(target, f"making {plan.repo_id} public"):
        if api.repo_info(plan.repo_id, repo_type=plan.kind).private:
            api.update_repo_settings(plan.repo_id, repo_type=plan.kind, private=False)
    journal.put(receipt.at("public"))


def _record(target: HubTarget, plan: ReleasePlan, receipt: Receipt) -> Release:
    prefix = "" if plan.kind == "model" else f"{plan.kind}s/"
    return Release(
        repo_id=plan.repo_id,
        checkpoint=plan.checkpoint,
        commit=receipt.commit,
        endpoint=target.name,
        files=plan.digests(),
        url=target.url(prefix + plan.repo_id),
    )
