"""Reads and checks the YAML block at the head of a README, offline.

The embedded Hub answers `validate-yaml` with `check` unless it is given another function: a
rehearsal, and no proof of what the public Hub would say.
"""

import datetime
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from evalkit import card_schema, frontmatter
from evalkit.errors import CardError

# The Hub takes them: keys it does not know, and what YAML 1.1 reads otherwise than YAML 1.2.
_TAKEN: frozenset[card_schema.Kind] = frozenset({"misspelt", "unknown", "trap"})


class Findings(NamedTuple):
    """What is wrong with a front matter: `errors` stop a commit, `warnings` do not."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


Validator = Callable[[str, str], Findings]  # (content of the README, kind of the repository)


def read(content: str) -> dict[str, Any]:
    """The front matter as plain JSON values; empty where there is none or it does not parse."""
    try:
        plain = _plain(frontmatter.parse(content).metadata)
    except CardError:
        return {}
    return dict(plain)


def check(content: str, kind: str) -> Findings:
    """What of the front matter differs from the written schema of cards."""
    block = frontmatter.split(content)[0]
    if block is None:
        return Findings(warnings=("empty or missing yaml metadata in repo card",))
    errors: list[str] = []
    warnings: list[str] = []
    for fault in card_schema.check(block, kind):
        said = f"{fault.where}: {fault.message}" if fault.path else fault.message
        is_error = fault.severity == "error" and fault.kind not in _TAKEN
        (errors if is_error else warnings).append(said)
    return Findings(tuple(errors), tuple(warnings))


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
