"""A verdict on each number of a card: it matches, is within an interval, is contradicted, or none.

A number is compared with one that was made alike; where nothing of that kind is known, the verdict
is `unverifiable`, with what differs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evalkit.card_reading.model_names import model_key
from evalkit.card_reading.numbers import agree, half_a_step
from evalkit.standings import number
from evalkit.verification.claims import Claim
from evalkit.verification.known import Known, plain_task
from evalkit.verification.likeness import unlike

Verdict = Literal["match", "within interval", "contradicted", "unverifiable"]
_RANK: tuple[Verdict, ...] = ("match", "within interval", "contradicted", "unverifiable")
_BESIDE = {"n": "n", "missing": "the number of missing items", "stderr": "the standard error",
           "ci_low": "the lower limit", "ci_high": "the upper limit"}  # fmt: skip
# The metric that a task's number is where a card names none, or names it otherwise.
_METRICS = {"score": "average"}
_TASKS = {"alpaca_eval_2": "alpaca_eval"}


@dataclass(frozen=True)
class Checked:
    """A number of a card with its verdict.

    known: what was found, shown alike; why: in words. file: in which the number stands, where that
    is not the card.
    """

    line: int
    shown: str
    model: str
    name: str
    verdict: Verdict
    known: str = ""
    where: str = ""
    why: str = ""
    file: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def check(
    claims: Sequence[Claim], cited: Sequence[Known], given: Sequence[Known], own: Collection[str]
) -> list[Checked]:
    """A verdict on each claim.

    cited: what the card's own records say: they tell how its numbers were made, and are what it is
        held against where nothing else is known. given: what is known besides, and decides.
    own: what the card's model is called.
    """
    names = {model_key(name) for name in own}
    return [_checked(claim, cited, given, names) for claim in claims]


def _checked(
    claim: Claim, cited: Sequence[Known], given: Sequence[Known], own: Collection[str]
) -> Checked:
    recorded = [one for one in cited if _is_of(claim, one, own)]
    record = _exact(claim, recorded)
    stated = {**(record.settings if record else {}), **claim.settings}
    found = [_compared(claim, stated, one) for one in given if _is_of(claim, one, own)]
    found = found or [_compared(claim, claim.settings, one) for one in recorded]
    if found:
        return min(found, key=lambda one: _RANK.index(one.verdict))
    why = "no record of it" if cited or given else "the card has no records, and none were given"
    return _verdict(claim, "unverifiable", why=why)


def _exact(claim: Claim, known: Sequence[Known]) -> Known | None:
    """The record that a number was rounded from, else the only one there is."""
    equal = [one for one in known if _is_equal(claim, one)]
    return equal[0] if equal else known[0] if len(known) == 1 else None


def _is_of(claim: Claim, known: Known, own: Collection[str]) -> bool:
    """Whether a known number is what a claim is about."""
    whose = model_key(known.model)
    if not (whose == model_key(claim.model) if claim.model else whose in own):
        return False
    if claim.heading:
        return claim.heading in known.names
    tasks = {plain_task(claim.task), plain_task(_TASKS.get(claim.task, claim.task))}
    metric = _METRICS.get(claim.metric, claim.metric)
    score = known.score
    return plain_task(score.task) in tasks and metric in ("", score.metric)


def _compared(claim: Claim, stated: Mapping[str, Any], known: Known) -> Checked:
    differ = unlike(stated, known.settings)
    shown = _shown(claim, known)
    if differ:
        return _verdict(claim, "unverifiable", shown, known, "made otherwise: " + "; ".join(differ))
    if _is_equal(claim, known):
        wrong = list(_wrong_beside(claim, known)) if known.is_own else []
        verdict: Verdict = "contradicted" if wrong else "match"
        return _verdict(claim, verdict, shown, known, "; ".join(wrong))
    if known.is_own:
        return _verdict(claim, "contradicted", shown, known, f"it is {shown}")
    return _measured_otherwise(claim, shown, known)


def _measured_otherwise(claim: Claim, shown: str, known: Known) -> Checked:
    """What another measurement with another number says: the intervals of both decide.

    Their difference lies within its own 95 % interval where it is no larger than the reaches of
    the two intervals that face each other, squared and added.
    Source: Newcombe 1998 (Statistics in Medicine 17, 873), method 10; for one interval alone, it.
    """
    low, high, n = known.score.ci_low, known.score.ci_high, known.score.n
    items = "" if n is None else f", n={n}"
    if low is None or high is None:
        why = f"another measurement{items}, and no interval to tell chance from error by"
        return _verdict(claim, "unverifiable", shown, known, why)
    factor = _factor(claim, known)
    low, value, high = low * factor, known.score.value * factor, high * factor
    own_low, own_high = (claim.beside.get(key, claim.value) for key in ("ci_low", "ci_high"))
    if claim.value > value:
        reaches = (high - value, claim.value - own_low)
    else:
        reaches = (value - low, own_high - claim.value)
    slack = half_a_step(claim.decimals)
    inside = abs(claim.value - value) <= math.hypot(*reaches) + slack
    limits = [number(limit, claim.decimals) for limit in (low, high)]
    why = f"95 % interval {limits[0]} to {limits[1]}{items}"
    return _verdict(claim, "within interval" if inside else "contradicted", shown, known, why)


def _factor(claim: Claim, known: Known) -> float:
    """1, or what turns a known percentage into the part of 1 that a card shows, or the reverse."""
    other = {"percent": 0.01, "unit": 100.0}.get(known.score.scale, 1.0)
    return min((1.0, other), key=lambda one: abs(known.score.value * one - claim.value))


def _is_equal(claim: Claim, known: Known) -> bool:
    value = known.score.value * _factor(claim, known)
    return agree(claim.value, claim.decimals, value, 12)


def _shown(claim: Claim, known: Known) -> str:
    return number(known.score.value * _factor(claim, known), claim.decimals)


def _wrong_beside(claim: Claim, known: Known) -> Iterator[str]:
    """What the card says beside the value, and the record says otherwise."""
    factor = _factor(claim, known)
    for key, stated in claim.beside.items():
        value = getattr(known.score, key)
        if value is None and not known.digest:
            continue  # a mean of several, whose interval no record holds
        scaled = value if value is None or key in ("n", "missing") else value * factor
        if scaled is None or not agree(stated, claim.decimals, scaled, 12):
            yield f"{_BESIDE[key]} is {scaled}, and not {stated:g}"


def _verdict(
    claim: Claim, verdict: Verdict, shown: str = "", known: Known | None = None, why: str = ""
) -> Checked:
    return Checked(
        line=claim.line,
        shown=claim.shown,
        model=claim.model or (known.model if known else ""),
        name=f"{known.score.task} {known.score.metric}" if known else claim.name,
        verdict=verdict,
        known=shown,
        where=known.where if known else "",
        why=why,
        file=claim.file,
    )
