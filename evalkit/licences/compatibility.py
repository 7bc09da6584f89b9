"""Whether a model may carry its licence, given the licence of what it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evalkit.licences.naming import is_same
from evalkit.licences.terms import Terms, terms

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Conflict:
    """Why a derivative's licence does not go with its base's.

    severity: `warning` where it depends on what else the derivative's publisher hands on.
    """

    derivative: str
    base: str
    why: str
    source: str
    severity: Severity = "error"


def compatible(derivative: str, base: str) -> Conflict | None:
    """What is wrong with licensing a derivative so; None where nothing is, or it is not known."""
    own, given = terms(derivative), terms(base)
    if own is None or given is None:
        return None
    why = _forbidden(own, given)
    if why:
        return Conflict(derivative, base, why, given.source)
    if is_same(derivative, base) or derivative in ("other", "unknown"):
        return None
    why, sure = _relicensed(own, given)
    return (
        Conflict(derivative, base, why, given.source, "error" if sure else "warning")
        if why
        else None
    )


def _forbidden(own: Terms, base: Terms) -> str:
    if base.derivatives == "forbidden":
        return f"{base.name} permits no derivatives"
    if base.commercial == "forbidden" and own.commercial in ("allowed", "limited"):
        return f"{base.name} forbids commercial use, which {own.name} permits"
    return ""


def _relicensed(own: Terms, base: Terms) -> tuple[str, bool]:
    """Why other terms do not do, and whether that is so whatever else goes along."""
    if base.relicensing == "same" and own.id not in base.also:
        return f"derivatives of what is under {base.name} keep that licence", True
    if base.relicensing == "bound":
        # Terms that restrict nothing take the base's restrictions away; others may add to them.
        is_freer = own.relicensing == "free"
        return f"derivatives stay bound by the {base.name}, whatever is added to it", is_freer
    if base.relicensing == "notice":
        return f"a copy of the {base.name} and its notice go along with derivatives", False
    return "", False
