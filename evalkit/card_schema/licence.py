"""The licence in a card's metadata: an id that the Hub knows, and a name and a link for others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalkit.card_schema.fault import Fault, KeyPath
from evalkit.card_schema.schema import shown
from evalkit.errors import did_you_mean
from evalkit.licences import ids, normalised, terms

_OWN = "where the Hub has no id for it: license: other, with license_name and license_link"


def licence_faults(metadata: Mapping[Any, Any]) -> Iterator[Fault]:
    """Ids that are none, `other` that stays unnamed."""
    stated = metadata.get("license")
    listed = stated if isinstance(stated, list | tuple) else [stated]
    for number, licence in enumerate(listed):
        if type(licence) is str and licence not in ids():
            path: KeyPath = ("license", number) if listed is stated else ("license",)
            yield Fault(path, "license", f"{shown(licence)} is no licence's id", _fix(licence))
    named = {key: _text(metadata.get(key)) for key in ("license_name", "license_link")}
    texts = [one for one in listed if type(one) is str]
    missing = " and ".join(key for key, value in named.items() if not value)
    if "other" in texts and missing:
        message = f"licence 'other' without {missing}: readers cannot tell which it is"
        fix = "name it, and link its text (an address, or LICENSE in the repository)"
        yield Fault(("license",), "license", message, fix, "warning")
    if named["license_name"] and texts:
        yield from _name_faults(normalised(named["license_name"]), texts)


def _name_faults(meant: str | None, listed: Sequence[str]) -> Iterator[Fault]:
    if meant in listed:
        return
    if "other" not in listed:
        message = "a name counts only where license is 'other'"
        yield Fault(("license_name",), "license", message, "take it out", "warning")
    elif meant in ids():
        message = "the Hub has an id for this licence, by which it can be found"
        yield Fault(("license",), "license", message, f"write license: {meant}", "warning")


def _text(value: object) -> str:
    return value if type(value) is str else ""


def _fix(licence: str) -> str:
    meant = normalised(licence)
    known = terms(meant) if meant else None
    if known is None:
        hint = did_you_mean(licence.lower()[:100], ids())
        return hint if hint.startswith("did you mean") else _OWN
    if known.is_hub_id:
        return f"write '{known.id}'"
    return f"write license: other, license_name: {known.id}, and license_link"
