"""Which of evalkit's optional packages are installed, and what can be done with them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, NamedTuple

BASE = ""  # what `pip install evalkit` alone brings
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_CLAUSE = re.compile(r"(>=|<=|==|!=|~=|>|<)\s*([0-9][0-9.]*)")
# What people want to do, and the extra that it takes. vLLM lives in an environment of its own.
ABILITIES = {
    "cards and leaderboards": BASE,
    "train": "train",
    "evaluate": "eval",
    "quantize": "quantize",
    "publish": "hub",
    "training curves on cards": "report",
}


class Requirement(NamedTuple):
    """A package that an extra asks for. installed: its version here, None where it is missing."""

    package: str
    wanted: str
    installed: str | None

    @property
    def is_met(self) -> bool:
        """Whether it is installed in a version that fits."""
        return self.installed is not None and fits(self.installed, self.wanted)


def extras() -> dict[str, list[Requirement]]:
    """What each extra asks for by the metadata of the installed evalkit; `` is the base."""
    found: dict[str, list[Requirement]] = {BASE: []}
    for line in requires("evalkit") or []:
        match = _REQUIREMENT.match(line)
        if match is None:
            continue
        extra = _EXTRA.search(match[3] or "")
        needed = Requirement(match[1], match[2].strip(), _version(match[1]))
        found.setdefault(extra[1] if extra else BASE, []).append(needed)
    return found


def fits(number: str, wanted: str) -> bool:
    """Whether a version lies within a range such as `>=5.0,<6`; only its release counts.

    Source: PEP 440, without pre-releases and local versions.
    """
    return all(_holds(_release(number), sign, bound) for sign, bound in _CLAUSE.findall(wanted))


def describe_extras() -> dict[str, Any]:
    """Extras and abilities as JSON values: what is there, what is not, what to type."""
    known = extras()
    return {
        "extras": {
            name or "base": [{**one._asdict(), "met": one.is_met} for one in requirements]
            for name, requirements in known.items()
            if name != "dev"
        },
        "abilities": {name: _ability(known, extra) for name, extra in ABILITIES.items()},
    }


def _ability(known: dict[str, list[Requirement]], extra: str) -> dict[str, Any]:
    lacking = [one for one in (*known[BASE], *known.get(extra, [])) if not one.is_met]
    return {
        "possible": not lacking,
        "lacking": [
            f"{one.package} {one.wanted}"
            + (f" (here is {one.installed})" if one.installed else "")
            for one in dict.fromkeys(lacking)
        ],
        "install": f"pip install 'evalkit[{extra}]'" if extra else "pip install evalkit",
    }  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _release(number: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", number)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _holds(release: tuple[int, ...], sign: str, bound: str) -> bool:
    limit = _release(bound)
    length = max(len(release), len(limit))
    a, b = (one + (0,) * (length - len(one)) for one in (release, limit))
    return {
        ">=": a >= b, "<=": a <= b, ">": a > b, "<": a < b, "==": a == b, "!=": a != b,
        "~=": a >= b and a[: len(limit) - 1] == b[: len(limit) - 1],
    }[sign]  # fmt: skip
