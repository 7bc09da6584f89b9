"""Turns a judge's pairwise logits over K responses into win probabilities against the policy.

`pair_logits[i][j]` is the judge's logit C_ij that response i, shown first, beats j.
Judged are the sampled responses of a group; those that came from the data follow them and are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from evalkit.records import PromptGroup, Response
from evalkit.roles import Judge, PairRequest, Progress

PairTable = tuple[tuple[float | None, ...], ...]


class PreferenceOptions(BaseModel):
    """How win probabilities are estimated from pairwise logits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    aggregation: Literal["pairwise", "score_difference"] = Field(
        "pairwise",
        description="pairwise: sigmoid of each debiased logit; score_difference: the released"
        " pipelines' form, which sharpens probabilities",
    )
    self_comparison: bool = Field(
        True, description="count each response's tie with itself, which shrinks towards 1/2"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        1.0, description="logits are divided by this; below 1 sharpens"
    )


class PreferenceStats(NamedTuple):
    """What to know of one round of judging, counted over all prompts.

    order_bias: mean of (C_ij + C_ji)/2 over pairs judged both ways: the logit gained by being
        shown first; order_flips: part of those pairs whose two verdicts name different winners.
    unjudged_prompts: prompts without win probabilities, because verdicts are missing.
    """

    verdicts: int
    missing: int
    order_bias: float | None
    order_flips: float | None
    ties: int
    duplicate_responses: int
    unjudged_prompts: int


class Judged(NamedTuple):
    """Groups with `pair_logits` and `win_probs` filled in where they could be."""

    groups: list[PromptGroup]
    stats: PreferenceStats


def sampled(group: PromptGroup) -> tuple[Response, ...]:
    """The responses of a group that the policy gave; those from the data follow them."""
    return tuple(r for r in group.responses if r.finish_reason != "gold")


def judge_groups(
    groups: Sequence[PromptGroup], judge: Judge, options: PreferenceOptions, progress: Progress
) -> Judged:
    """Has all ordered pairs of different responses compared, and estimates win probabilities."""
    requests = [request for group in groups for _, _, request in _pairs(group)]
    verdicts = iter(judge.compare(requests, progress)) if requests else iter(())
    judged = []
    for group in groups:
        answers = {(i, j): next(verdicts).value for i, j, _ in _pairs(group)}
        logits = _pair_logits([r.text for r in sampled(group)], answers)
        judged.append(
            replace(
                group,
                pair_logits=logits,
                pair_probs=pair_probabilities(logits, options),
                win_probs=win_probabilities(logits, options),
            )
        )
    return Judged(judged, _stats(judged))


def win_probabilities(logits: PairTable, options: PreferenceOptions) -> tuple[float, ...] | None:
    """Each response's probability of beating a response drawn from the same policy.

    A response is compared with all K responses, itself optionally among them. None where a
    response has no opponent judged both ways (with score_difference: where any verdict is missing).

    Source: Wu et al. 2024 (SPPO, arXiv:2405.00675), section 4; `score_difference` after
    uclaml/SPPO scripts/compute_prob.py at 5e61c4e and the scores of LLM-Blender at 2a67366.
    """
    margins = _margins(logits, options)
    rows = []
    for i, row in enumerate(margins):
        wins = [sigmoid(m) for j, m in enumerate(row) if j != i and m is not None]
        if not wins:
            return None
        if options.self_comparison:
            wins.append(0.5)
        rows.append(math.fsum(wins) / len(wins))
    return tuple(rows)


def pair_probabilities(logits: PairTable, options: PreferenceOptions) -> PairTable:
    """Probability that response i beats j (K x K), None where it was not judged both ways."""
    margins = _margins(logits, options)
    return tuple(tuple(None if m is None else sigmoid(m) for m in row) for row in margins)


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    grown = math.exp(x)
    return grown / (1 + grown)


def _margins(logits: PairTable, options: PreferenceOptions) -> list[list[float | None]]:
    if options.aggregation == "pairwise":
        margins = [
            [_debiased(logits[i][j], logits[j][i]) for j in range(len(logits))]
            for i in range(len(logits))
        ]
    else:
        margins = _score_differences(logits)
    return [[None if m is None else m / options.temperature for m in row] for row in margins]


def _debiased(forward: float | None, backward: float | None) -> float | None:
    return None if forward is None or backward is None else (forward - backward) / 2


def _score_differences(logits: PairTable) -> list[list[float | None]]:
    count = len(logits)
    scores = []
    for i in range(count):
        differences = [
            forward - backward
            for j in range(count)
            if (forward := logits[i][j]) is not None and (backward := logits[j][i]) is not None
        ]
        if len(differences) < count:
            return [[None] * count for _ in range(count)]
        scores.append(math.fsum(differences) / count)
    return [[a - b for b in scores] for a in scores]


def _pairs(group: PromptGroup) -> Iterator[tuple[int, int, PairRequest]]:
    texts = list(dict.fromkeys(response.text for response in sampled(group)))
    for (i, first), (j, second) in permutations(enumerate(texts), 2):
        yield i, j, PairRequest(group.prompt, first, second)


def _pair_logits(texts: list[str], answers: dict[tuple[int, int], float | None]) -> PairTable:
    # Equal responses are judged once; between themselves they tie.
    rank = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return tuple(tuple(0.0 if a == b else answers[rank[a], rank[b]] for b in texts) for a in texts)


def _stats(groups: Sequence[PromptGroup]) -> PreferenceStats:
    verdicts = missing = ties = duplicates = 0
    both_ways: list[tuple[float, float]] = []
    for group in groups:
        texts = [response.text for response in sampled(group)]
        first_of = [texts.index(text) for text in dict.fromkeys(texts)]
        duplicates += len(texts) - len(first_of)
        logits = group.pair_logits or ()
        for i, j in permutations(first_of, 2):
            verdicts += 1
            missing += logits[i][j] is None
            forward, backward = logits[i][j], logits[j][i]
            if i < j and forward is not None and backward is not None:
                both_ways.append((forward, backward))
                ties += forward == backward
    flips = sum(forward * backward > 0 for forward, backward in both_ways)
    return PreferenceStats(
        verdicts=verdicts,
        missing=missing,
        order_bias=math.fsum(a + b for a, b in both_ways) / 2 / len(both_ways)
        if both_ways
        else None,
        order_flips=flips / len(both_ways) if both_ways else None,
        ties=ties,
        duplicate_responses=duplicates,
        unjudged_prompts=sum(group.win_probs is None for group in groups),
    )
