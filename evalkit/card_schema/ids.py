"""Names of repositories in a card's metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.card_schema.fault import Fault
from evalkit.card_schema.schema import shown, written

_PATH = re.compile(r"[./~]|[A-Za-z]:\\|.*\\|[^/]+/[^/]+/")
_ADDRESS = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)")


def id_fault(text: str) -> tuple[str, str]:
    """What keeps a text from being a repository on the Hub, and what to do; empty for nothing."""
    plain = text.strip()
    address = _ADDRESS.match(plain)
    if address:
        return "is an address, not an id", f"write {address[1]}"
    if re.match(written()["$defs"]["hub_id"]["pattern"], plain):
        return "", ""
    if _PATH.match(plain):
        return "is a path, not an id", "give the repository's id, owner/name, or leave it out"
    if re.match(written()["ownerless"], plain):
        return "", ""
    return "has no owner: it leads to no repository", "give its id on the Hub, owner/name"


def base_faults(metadata: Mapping[Any, Any]) -> Iterator[Fault]:
    """What is wrong with the ids of a model's bases."""
    stated = metadata.get("base_model")
    listed = stated if isinstance(stated, list | tuple) else [stated]
    for number, name in enumerate(listed):
        path = ("base_model", number) if isinstance(stated, list | tuple) else ("base_model",)
        if type(name) is str and (wrong := id_fault(name))[0]:
            yield Fault(path, "value", f"{shown(name)} {wrong[0]}", wrong[1])
    is_named = any(type(name) is str and name for name in listed)
    if type(metadata.get("base_model_relation")) is str and not is_named:
        message = "a relation to a base that is not named"
        yield Fault(("base_model_relation",), "value", message, "name base_model", "warning")
