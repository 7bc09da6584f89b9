"""Keys of a card that mean nothing, and what was meant by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from evalkit.card_schema.fault import Fault
from evalkit.card_schema.schema import written

_NEAR = 0.8  # of its letters a misspelt key shares with the right one


def meant_key(key: str, kind: str = "model") -> str | None:
    """The key that was meant by one that does not exist; None where none is near."""
    plain = key.strip()
    if plain in known(kind) or plain in written()["community"]:
        return plain if plain != key else None
    stated = written()["misspelt"].get(plain.lower())
    near = get_close_matches(plain.lower(), sorted(known(kind)), n=1, cutoff=_NEAR)
    return stated if stated in known(kind) else (near[0] if near else None)


def key_faults(metadata: Mapping[Any, Any], kind: str) -> Iterator[Fault]:
    """Misspelt keys, which are errors, and unknown ones."""
    for key in metadata:
        if type(key) is not str or key in known(kind) or key in written()["community"]:
            continue
        meant = meant_key(key, kind)
        if meant:
            message = f"the key '{key}' means nothing"
            yield Fault((key,), "misspelt", message, f"write '{meant}'")
        else:
            message = f"the Hub knows no key '{key}'"
            fix = "take it out, or leave it if a tool of yours reads it"
            yield Fault((key,), "unknown", message, fix, "warning")


def kind_of(metadata: Mapping[Any, Any]) -> str:
    """`dataset` for metadata with keys that only data sets have, else `model`."""
    keys = {key for key in metadata if type(key) is str}
    only_models, only_datasets = (
        known("model") - known("dataset"),
        known("dataset") - known("model"),
    )
    return "dataset" if keys & only_datasets and not keys & only_models else "model"


@cache
def known(kind: str) -> frozenset[str]:
    """The keys that the cards of a kind of repository have."""
    return frozenset(schema_of(kind)["properties"])


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """The schema of a `model` card, or of a `dataset`'s."""
    data = written()
    card: dict[str, Any] = data["card"]
    if kind != "dataset":
        return card
    shared = {key: card["properties"][key] for key in data["dataset"]["shared"]}
    return {**data["dataset"], "properties": {**shared, **data["dataset"]["properties"]}}
