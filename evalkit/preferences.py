"""Turns a judge's pairwise logits over K responses into win probabilities against the policy.

`pair_logits[i][j]` is the judge's logit C_ij that response i, shown first, beats j.
Judged are the sampled responses of a group; those that came from the data follow them and are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import combinations, permutations
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from evalkit.judging_stats import JudgedResponses, PairTable, PreferenceStats, stats_of
from evalkit.records import PromptGroup, Response
from evalkit.roles import Averaged, Judge, PairRequest, Progress

_CERTAIN = 700.0  # beyond it, the probability of the other would be 0


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
    similar_from: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="edit similarity of two responses, by words and from 0 to 1, beyond which their"
        " probability is drawn towards 1/2, to reach it where they are equal; default: only equal"
        " ones tie",
    )


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
    verdicts = judge.compare(requests, progress) if requests else []
    remaining = iter(verdicts)
    judged = []
    for group in groups:
        answers = {(i, j): next(remaining).value for i, j, _ in _pairs(group)}
        texts = [r.text for r in sampled(group)]
        logits = _pair_logits(texts, answers)
        pair_probs = pair_probabilities(logits, options, judge.averaged)
        if options.similar_from is not None:
            pair_probs = _drawn_together(pair_probs, texts, options.similar_from)
        win_probs = _win_probabilities(pair_probs, options)
        judged.append(
            replace(group, pair_logits=logits, pair_probs=pair_probs, win_probs=win_probs)
        )
    cut = sum(verdict.cut for verdict in verdicts)
    return Judged(judged, stats_of([_judged_responses(group) for group in judged], cut))


def win_probabilities(
    logits: PairTable, options: PreferenceOptions, averaged: Averaged = "logits"
) -> tuple[float, ...] | None:
    """Each response's probability of beating a response drawn from the same policy.

    A response is compared with all K responses, itself optionally among them. None where a
    response has no opponent judged both ways (with score_difference: where any verdict is missing).

    Source: Wu et al. 2024 (SPPO, arXiv:2405.00675), section 4; `score_difference` after
    uclaml/SPPO scripts/compute_prob.py at 5e61c4e and the scores of LLM-Blender at 2a67366.
    """
    return _win_probabilities(pair_probabilities(logits, options, averaged), options)


def _win_probabilities(probs: PairTable, options: PreferenceOptions) -> tuple[float, ...] | None:
    rows = []
    for i, row in enumerate(probs):
        wins = [p for j, p in enumerate(row) if j != i and p is not None]
        if not wins:
            return None
        if options.self_comparison:
            wins.append(0.5)
        rows.append(math.fsum(wins) / len(wins))
    return tuple(rows)


def _drawn_together(probs: PairTable, texts: Sequence[str], similar_from: float) -> PairTable:
    """Pair probabilities, each so much nearer to 1/2 as its two responses are alike.

    A judge that is sure of two nearly equal responses sets targets that no policy can meet.
    Source: the idea of S-SPPO (arXiv:2606.01561), with edit similarity for its annealing.
    """
    words = [text.split() for text in texts]
    kept = [[1.0] * len(texts) for _ in texts]
    for i, j in combinations(range(len(texts)), 2):
        kept[i][j] = kept[j][i] = _unlikeness(words[i], words[j], similar_from)
    return tuple(
        tuple(
            # Untouched where nothing is drawn: near 0, the sum would round it.
            p if p is None or kept[i][j] == 1 else 0.5 + (p - 0.5) * kept[i][j]
            for j, p in enumerate(row)
        )
        for i, row in enumerate(probs)
    )


def _unlikeness(first: list[str], second: list[str], similar_from: float) -> float:
    """1 up to a similarity of `similar_from`, then falling to 0 for equal words."""
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    if matcher.real_quick_ratio() <= similar_from or matcher.quick_ratio() <= similar_from:
        return 1.0
    return min(1.0, (1 - matcher.ratio()) / (1 - similar_from))


def pair_probabilities(
    logits: PairTable, options: PreferenceOptions, averaged: Averaged = "logits"
) -> PairTable:
    """Probability that response i beats j (K x K), None where it was not judged both ways."""
    margins = _margins(logits, options, averaged)
    return tuple(tuple(None if m is None else sigmoid(m) for m in row) for row in margins)


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    grown = math.exp(x)
    return grown / (1 + grown)


def _margins(
    logits: PairTable, options: PreferenceOptions, averaged: Averaged
) -> list[list[float | None]]:
    if options.aggregation == "pairwise":
        margins = [
            [_debiased(logits[i][j], logits[j][i], averaged) for j in range(len(logits))]
            for i in range(len(logits))
        ]
    else:
        margins = _score_differences(logits)
    return [[None if m is None else m / options.temperature for m in row] for row in margins]


def _debiased(forward: float | None, backward: float | None, averaged: Averaged) -> float | None:
    """The logit of a pair, of its verdicts in both orders."""
    if forward is None or backward is None:
        return None
    if averaged == "logits":
        return (forward - backward) / 2
    forward, backward = (max(-_CERTAIN, min(_CERTAIN, logit)) for logit in (forward, backward))
    wins, losses = sigmoid(forward) + sigmoid(-backward), sigmoid(-forward) + sigmoid(backward)
    return math.log(wins) - math.log(losses)


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


def _judged_responses(group: PromptGroup) -> JudgedResponses:
    responses = sampled(group)
    return JudgedResponses(
        tuple(response.text for response in responses),
        tuple(len(response.token_ids) for response in responses),
        group.pair_logits or (),
        group.win_probs,
    )


def _pair_logits(texts: list[str], answers: dict[tuple[int, int], float | None]) -> PairTable:
    # Equal responses are judged once; between themselves they tie.
    rank = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return tuple(tuple(0.0 if a == b else answers[rank[a], rank[b]] for b in texts) for a in texts)
