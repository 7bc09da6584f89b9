"""What is on a Hub of a family, at which commit, and whether it equals the files at hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evalkit.hub.client import HubTarget, open_api
from evalkit.hub.plan import ReleasePlan
from evalkit.hub.receipts import Receipt, Receipts
from evalkit.hub.remote import RemoteRepo, differences, hub_errors, look

State = Literal["equal", "different", "absent"]


@dataclass(frozen=True)
class Standing:
    """One repository as it is on the Hub, beside what its plan says.

    differences: a line for each file that is missing, other, or too many there.
    tags: those that name its head. changed_since: whether somebody has committed since it was
        published from here; None where it never was.
    """

    repo_id: str
    kind: str
    state: State
    commit: str = ""
    private: bool | None = None
    tags: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    changed_since: bool | None = None


def standings(
    plans: Sequence[ReleasePlan], target: HubTarget | None, *, receipts: Path
) -> list[Standing]:
    """Where each plan's repository stands; asks the Hub only, and changes nothing.

    target: None for a Hub that does not exist yet.

    Raises:
        PublishError: the Hub cannot be reached.
    """
    if target is None:
        return [Standing(plan.repo_id, plan.kind, "absent") for plan in plans]
    journal = Receipts(receipts)
    with open_api(target) as api, hub_errors(target, "looking at what is on the Hub"):
        return [_standing(api, plan, journal.get(plan.repo_id, target.name)) for plan in plans]


def _standing(api: Any, plan: ReleasePlan, receipt: Receipt | None) -> Standing:
    remote = look(api, plan.repo_id, plan.kind)
    if remote is None:
        return Standing(plan.repo_id, plan.kind, "absent")
    refs = api.list_repo_refs(plan.repo_id, repo_type=plan.kind)
    found = tuple(differences(plan, remote.files))
    return Standing(
        plan.repo_id,
        plan.kind,
        "different" if found else "equal",
        remote.head,
        remote.private,
        tuple(sorted(tag.name for tag in refs.tags if tag.target_commit == remote.head)),
        found,
        _changed_since(receipt, remote),
    )


def _changed_since(receipt: Receipt | None, remote: RemoteRepo) -> bool | None:
    if receipt is None or not receipt.commit or receipt.stage == "rolled back":
        return None
    return remote.head != receipt.commit
