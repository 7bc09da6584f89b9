"""What a judge's own verdicts say of it: does it answer, does it hold to what it said, who agrees?

Figures come with 95 % intervals; nothing of them enters a score.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from evalkit.metrics.agreement import Agreement, agreement
from evalkit.pipeline.judge_around import JudgeAround
from evalkit.recipe import Audit
from evalkit.roles import (
    GameRequest,
    Judge,
    PairRequest,
    Progress,
    RatingRequest,
    Verdict,
)
from evalkit.stats import Interval, wilson_interval

MOST_REASONS = 5
REASON_CHARACTERS = 60
FIRST, SECOND, TIE = "first", "second", "tie"
Request = PairRequest | GameRequest | RatingRequest
T = TypeVar("T")


class Judgement(NamedTuple):
    """What was asked, and the verdict."""

    request: Request
    verdict: Verdict


class WitnessedJudge(JudgeAround):
    """A judge whose verdicts are remembered, to be audited when all are there."""

    def __init__(self, judge: Judge) -> None:
        super().__init__(judge)
        self.judgements: list[Judgement] = []

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        return self._seen(requests, self.judge.compare(requests, progress))

    def rate(self, requests: Sequence[RatingRequest], progress: Progress) -> list[Verdict]:
        return self._seen(requests, self.judge.rate(requests, progress))

    def play(self, requests: Sequence[GameRequest], progress: Progress) -> list[Verdict]:
        return self._seen(requests, self.judge.play(requests, progress))

    def stream(
        self, requests: Sequence[PairRequest] | Sequence[RatingRequest] | Sequence[GameRequest]
    ) -> None:
        """Whole lists alone: it is the journal below that keeps verdicts as they come."""

    def _seen(self, requests: Sequence[Request], verdicts: list[Verdict]) -> list[Verdict]:
        self.judgements += map(Judgement, requests, verdicts)
        return verdicts


def audit(
    judgements: Sequence[Judgement],
    judge: Judge,
    second: Judge | None,
    settings: Audit,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """All figures as JSON values; the further questions that `settings` wants are asked here.

    judge, second: who is asked them; journaled, so that a resumed step asks none twice.
    """
    found = of_verdicts([one.verdict for one in judgements])
    again = drawn(judgements, settings.items, seed)
    pairs = [one for one in again if not isinstance(one.request, RatingRequest)]
    found |= _first_shown(judgements)
    if settings.swapped and pairs:
        verdicts = ask(judge, [swapped(one.request) for one in pairs], progress)
        found["swapped"] = consistency([one.verdict for one in pairs], verdicts, seed)
    if second is not None and again:
        verdicts = ask(second, [one.request for one in again], progress)
        found["second_judge"] = {
            "judge": dict(second.identity()),
            **agreed([one.verdict for one in again], verdicts, again[0].request, seed),
        }
    return found


def of_verdicts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How many, how many without a value and why, and which models gave them by their account."""
    missing = [verdict for verdict in verdicts if verdict.value is None]
    reasons = Counter(_kind(verdict.reason) for verdict in missing)
    by = Counter(verdict.by for verdict in verdicts if verdict.by)
    return {
        "verdicts": len(verdicts),
        "missing": len(missing),
        "cut": sum(verdict.cut for verdict in verdicts),
        "parse_failure_rate": _rate(len(missing), len(verdicts)),
        **({"reasons": dict(reasons.most_common(MOST_REASONS))} if reasons else {}),
        **({"answered_by": dict(sorted(by.items()))} if by else {}),
    }


def consistency(
    verdicts: Sequence[Verdict], in_other_order: Sequence[Verdict], seed: int
) -> dict[str, Any]:
    """How often a judge names the same winner when the two are shown in the other order.

    in_other_order: of the same pairs, each verdict that of the swapped request.
    """
    turned = [v._replace(value=None if v.value is None else -v.value) for v in in_other_order]
    both = _both(verdicts, turned, as_pair=True)
    flips = [(one, other) for one, other in both if {one, other} == {FIRST, SECOND}]
    return {
        "pairs": len(both),
        "missing": len(verdicts) - len(both),
        "consistent": _rate(sum(one == other for one, other in both), len(both)),
        "first_shown_wins_both": sum(one == FIRST for one, _ in flips),
        "second_shown_wins_both": sum(one == SECOND for one, _ in flips),
        "kappa": agreement_figures(both, True, seed)["kappa"],
    }


def agreed(
    verdicts: Sequence[Verdict], others: Sequence[Verdict], kind: Request, seed: int
) -> dict[str, Any]:
    """How far two judges agree on the same requests; `kind` is one of these requests."""
    is_pair = not isinstance(kind, RatingRequest)
    both = _both(verdicts, others, is_pair)
    return {"missing": len(verdicts) - len(both), **agreement_figures(both, is_pair, seed)}


def agreement_figures(both: Sequence[tuple[Any, Any]], is_pair: bool, seed: int) -> dict[str, Any]:
    """Raw agreement and Cohen's kappa as JSON values; of ratings, weighted by squared distance."""
    if not both:
        return {"n": 0, "agreement": None, "kappa": None}
    one, other = [pair[0] for pair in both], [pair[1] for pair in both]
    found = agreement(one, other, seed, weights="none" if is_pair else "quadratic")
    return {"n": found.n, "agreement": _limits(found.raw), "kappa": _kappa(found)}


def winner(value: float) -> str:
    """What a logit that the first beats the second says."""
    return TIE if value == 0 else FIRST if value > 0 else SECOND


def swapped(request: Any) -> Any:
    """The same two in the other order."""
    return request._replace(first=request.second, second=request.first)


def ask(judge: Judge, requests: Sequence[Request], progress: Progress) -> list[Verdict]:
    """Verdicts on requests of one or several kinds, in their order."""
    verdicts: dict[int, Verdict] = {}
    kinds: tuple[tuple[type[Request], Callable[..., list[Verdict]]], ...] = (
        (PairRequest, judge.compare),
        (GameRequest, judge.play),
        (RatingRequest, judge.rate),
    )
    for kind, method in kinds:
        places = [i for i, request in enumerate(requests) if isinstance(request, kind)]
        if places:
            answers = method([requests[i] for i in places], progress)
            verdicts |= dict(zip(places, answers, strict=True))
    return [verdicts[i] for i in range(len(requests))]


def drawn(judgements: Sequence[T], items: int | None, seed: int) -> list[T]:
    """Those to be asked about again, in their order: a sample, or all."""
    if items is None or items >= len(judgements):
        return list(judgements)
    places = random.Random(seed).sample(range(len(judgements)), items)
    return [judgements[place] for place in sorted(places)]


def _first_shown(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """How often who is shown first wins: one half for a judge without a liking for a place."""
    winners = [
        winner(one.verdict.value)
        for one in judgements
        if one.verdict.value is not None and not isinstance(one.request, RatingRequest)
    ]
    decided = [one for one in winners if one != TIE]
    if not decided:
        return {}
    return {"first_shown_wins": _rate(sum(one == FIRST for one in decided), len(decided))}


def _both(
    verdicts: Sequence[Verdict], others: Sequence[Verdict], as_pair: bool
) -> list[tuple[Any, Any]]:
    """What both said, where both said something: a winner, or a whole rating."""
    read: Any = winner if as_pair else round
    return [
        (read(one.value), read(other.value))
        for one, other in zip(verdicts, others, strict=True)
        if one.value is not None and other.value is not None
    ]


def _kind(reason: str) -> str:
    """A reason without what differs from item to item, which mostly follows a colon."""
    return (reason.partition(":")[0] or "no reason given")[:REASON_CHARACTERS]


def _rate(count: int, n: int) -> dict[str, Any] | None:
    return _limits(wilson_interval(count, n)) if n else None


def _limits(interval: Interval) -> dict[str, Any]:
    return {"value": interval.value, "ci_low": interval.low, "ci_high": interval.high}


def _kappa(found: Agreement) -> dict[str, Any] | None:
    return None if found.kappa is None else _limits(found.kappa)


def lines(figures: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """The figures for people, one to a line."""
    for name, value in figures.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping) and set(value) == {"value", "ci_low", "ci_high"}:
            yield f"{indent}{label}: {_shown(value)}"
        elif isinstance(value, Mapping):
            yield f"{indent}{label}:"
            yield from lines(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for one in value:
                yield f"{indent}{label}:"
                yield from lines(one, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{label}: {', '.join(map(str, value))}"
        elif value not in (None, ""):
            yield f"{indent}{label}: {value}"


def _shown(limits: Mapping[str, float | None]) -> str:
    if limits["ci_low"] is None or limits["ci_high"] is None:
        return f"{limits['value']:.3f}"
    return f"{limits['value']:.3f} [{limits['ci_low']:.3f}, {limits['ci_high']:.3f}]"
