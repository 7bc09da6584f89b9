"""Fingerprints of settings: equal exactly when everything that decides a result is equal."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.records import dumps


def fingerprint(settings: Any) -> str:
    """sha256 (hex) of the canonical JSON of any record or JSON value."""
    return hashlib.sha256(dumps(settings).encode()).hexdigest()


def derive_seed(seed: int, *names: Any) -> int:
    """A seed (0 to 2**31 - 1) for one named piece of work, independent of every other."""
    text = "/".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFFFFFF


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every leaf in which two settings differ."""
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return [f"{key}: {_short(before.get(key))} -> {_short(after.get(key))}" for key in keys]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield name, value
        return
    for key, item in items:
        yield from _leaves(item, f"{name}.{key}" if name else str(key))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:12] + "..."
