"""The table of licences: `templates/licences.yaml`, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from evalkit import resources

Permission = Literal["allowed", "limited", "forbidden", "unknown"]
Relicensing = Literal["free", "notice", "bound", "same", "unknown"]


@dataclass(frozen=True)
class Must:
    """What whoever publishes a derivative must do.

    copy: hand on the licence's text. changes: say that files were changed. attribution: name the
        author.
    notice: what a file NOTICE must hold, empty for nothing.
    built_with: lines of which one must be shown prominently.
    name_prefix: what the derivative's name must begin with.
    use_policy: where the restrictions of use stand that must be handed on.
    """

    copy: bool = False
    changes: bool = False
    attribution: bool = False
    notice: str = ""
    built_with: tuple[str, ...] = ()
    name_prefix: str = ""
    use_policy: str = ""


@dataclass(frozen=True)
class Terms:
    """A licence. is_hub_id: the Hub lists it; else it is a `license_name` of `other`.

    family: the id that means any of several licences, this one among them.
    limit: of commercial use, where it is limited.
    relicensing: what a derivative may be licensed as; the file explains each word.
    also: what a derivative may be licensed as instead, where it must be `same`.
    since, revised: when the terms came out, and when those stated here did; empty where unknown.
    names, links, quotes: how texts and addresses are recognised as meaning it.
    """

    id: str
    name: str
    is_hub_id: bool
    source: str
    commercial: Permission = "unknown"
    derivatives: Permission = "unknown"
    relicensing: Relicensing = "unknown"
    limit: str = ""
    must: Must = field(default_factory=Must)
    also: tuple[str, ...] = ()
    family: str = ""
    since: str = ""
    revised: str = ""
    names: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()


def terms(licence_id: str) -> Terms | None:
    """The licence of this id, as the Hub or its `license_name` writes it; None for any other."""
    return table().get(licence_id)


def ids() -> frozenset[str]:
    """All ids that the Hub takes as `license`."""
    return frozenset(one.id for one in table().values() if one.is_hub_id)


@cache
def table() -> Mapping[str, Terms]:
    """Every licence that is known here, by id."""
    data = resources.template_data("licences.yaml")
    rows = [(key, row, True) for key, row in data["licences"].items()]
    rows += [(key, row, False) for key, row in data["named"].items()]
    return {key: _terms(key, row, is_hub_id, data["kinds"]) for key, row, is_hub_id in rows}


def _terms(key: str, row: dict[str, Any], is_hub_id: bool, kinds: dict[str, Any]) -> Terms:
    own = {name: value for name, value in row.items() if name != "kind"}
    facts = {**kinds.get(row.get("kind", ""), {}), **own}
    must = {name: _frozen(value) for name, value in facts.pop("must", {}).items()}
    settled = {name: _frozen(value) for name, value in facts.items()}
    return Terms(id=key, is_hub_id=is_hub_id, must=Must(**must), **settled)


def _frozen(value: Any) -> Any:
    return tuple(str(item) for item in value) if isinstance(value, list) else value
