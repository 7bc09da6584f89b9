"""Reads and checks the YAML block at the head of a README, offline.

The embedded Hub answers `validate-yaml` with `check` unless it is given another function: a
rehearsal, and no proof of what the public Hub would say.
"""

import datetime
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from evalkit import frontmatter
from evalkit.errors import CardError

# Hostile YAML also makes the parser itself fail: impossible dates, endless nesting.
_UNREADABLE = (CardError, ValueError, RecursionError)


class Findings(NamedTuple):
    """What is wrong with a front matter: `errors` stop a commit, `warnings` do not."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


Validator = Callable[[str, str], Findings]  # (content of the README, kind of the repository)


def read(content: str) -> dict[str, Any]:
    """The front matter as plain JSON values; empty where there is none or it does not parse."""
    try:
        plain = _plain(frontmatter.parse(content).metadata)
    except _UNREADABLE:
        return {}
    return dict(plain)


def check(content: str, kind: str) -> Findings:
    """Whether the front matter is a YAML mapping of the basic shape that every card needs."""
    if frontmatter.split(content)[0] is None:
        return Findings(warnings=("empty or missing yaml metadata in repo card",))
    try:
        value = frontmatter.parse(content).metadata
    except _UNREADABLE as error:
        return Findings(errors=(str(error),))
    return Findings(errors=tuple(frontmatter.wrong_types(value, kind)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
