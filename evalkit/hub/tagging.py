"""The tag of a release: a name for one commit that nobody moves."""

import re
from collections.abc import Mapping
from typing import Any

from evalkit.hub.client import HubTarget
from evalkit.hub.plan import ReleasePlan
from evalkit.hub.remote import hub_errors

_LAST_NUMBER = re.compile(r"(.*?)(\d+)")


def put_tag(api: Any, target: HubTarget, plan: ReleasePlan, commit: str, wanted: str) -> str:
    """The tag that names `commit`, made when there is none.

    wanted: for the first release of a repository. A tag that is there stays where it is, so each
    later release takes the next free number: `v1.0`, `v1.1`, `v1.2`.

    Raises:
        PublishError: the Hub cannot be reached, or refuses.
    """
    with hub_errors(target, f"tagging {plan.repo_id}"):
        refs = api.list_repo_refs(plan.repo_id, repo_type=plan.kind)
        there = {tag.name: tag.target_commit for tag in refs.tags}
        name = tag_for(there, commit, wanted)
        if name not in there:
            api.create_tag(
                plan.repo_id, repo_type=plan.kind, tag=name, revision=commit, exist_ok=True
            )
    return name


def tag_for(there: Mapping[str, str], commit: str, wanted: str) -> str:
    """The tag of `commit`, or the next free one, given a repository's tags and their commits."""
    name = wanted
    while name in there and there[name] != commit:
        found = _LAST_NUMBER.fullmatch(name)
        name = f"{found[1]}{int(found[2]) + 1}" if found else f"{name}.1"
    return name
