"""Versions of what made a result, noted in the receipt of every expensive step."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "evalkit", "torch", "transformers", "accelerate", "lm_eval", "alpaca_eval", "fschat",
    "llmcompressor", "compressed-tensors", "peft", "bitsandbytes",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result, as far as they are installed."""
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def merged(versions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Versions over several steps; where steps differ, all of them: `5.16.0, 5.17.0`."""
    found: dict[str, set[str]] = {}
    for noted in versions:
        for package, number in noted.items():
            found.setdefault(package, set()).add(number)
    return {package: ", ".join(sorted(numbers)) for package, numbers in sorted(found.items())}
