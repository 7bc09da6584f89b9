"""Pairs as AlpacaEval has them judged: in an order drawn per instruction, and turned back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.metrics.win_rate import DRAW
from evalkit.preferences import sigmoid
from evalkit.records import Prompt
from evalkit.roles import Judge, PairRequest, Progress, Verdict


class Preference(NamedTuple):
    """One judged pair: from 1 (baseline) to 2 (model), None where the judge failed.

    model_first: whether the model was shown first; None where nobody was asked.
    usd: what the answer cost, None where that is not known.
    """

    value: float | None
    model_first: bool | None
    reason: str = ""
    verdict: Verdict | None = None
    usd: float | None = None


def shows_model_first(instruction: str, seed: int) -> bool:
    """The side that is shown first, drawn from the instruction alone: the same for every model.

    Source: tatsu-lab/alpaca_eval, processors.py, `RandomSwitchTwoColumnsProcessor`, with
    annotators/pairwise_evaluator.py (release 0.6.6): the baseline is first unless switched.
    """
    drawn = random.Random(f"is_switched_outputs{instruction}{seed}")
    return drawn.choices([False, True], k=1)[0]


def judged(
    judge: Judge,
    pairs: Sequence[tuple[Prompt, str, str]],
    firsts: Sequence[bool],
    progress: Progress,
) -> list[Preference]:
    """One preference per (prompt, model's output, baseline's output).

    Equal outputs are draws that no judge is asked about.
    """
    asked = [i for i, (_, output, reference) in enumerate(pairs) if output != reference]
    requests = [_request(*pairs[i], model_first=firsts[i]) for i in asked]
    found = [Preference(DRAW, None, "equal outputs")] * len(pairs)
    verdicts = judge.compare(requests, progress) if requests else []
    for index, verdict in zip(asked, verdicts, strict=True):
        cost = judge.cost_of([verdict])
        usd = cost.usd if cost is not None and cost.requests else None
        found[index] = _preference(verdict, firsts[index])._replace(usd=usd)
    return found


def spending(judge: Judge, preferences: Sequence[Preference]) -> dict[str, Any]:
    """What the answers behind the preferences cost, for provenance; empty where nothing counts."""
    verdicts = [one.verdict for one in preferences if one.verdict is not None]
    cost = judge.cost_of(verdicts)
    if cost is None or not cost.requests:
        return {}
    price = {} if cost.usd is None else {"usd": round(cost.usd, 6), "price": cost.price}
    tokens = {"tokens_in": cost.tokens_in, "tokens_out": cost.tokens_out}
    uncounted = len(verdicts) - cost.requests
    return {
        "judging": {
            "answers": cost.requests,
            **({"uncounted_answers": uncounted} if uncounted else {}),
            **tokens,
            **(price or {"price": "not known"}),
        }
    }


def _request(prompt: Prompt, output: str, reference: str, *, model_first: bool) -> PairRequest:
    if model_first:
        return PairRequest(prompt, output, reference)
    return PairRequest(prompt, reference, output)


def _preference(verdict: Verdict, model_first: bool) -> Preference:
    if verdict.value is None:
        return Preference(None, model_first, verdict.reason or "no verdict", verdict)
    logit = verdict.value if model_first else -verdict.value
    return Preference(1 + sigmoid(logit), model_first, verdict.reason, verdict)
