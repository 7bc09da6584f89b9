"""What a round of judging says of its judge and its responses, before anything is trained on it.

Over the K responses to a prompt: C_ij is the judge's logit that i, shown first, beats j; the
debiased margin is D_ij = (C_ij - C_ji) / 2. Sizes are told in win probabilities: a judge that is
certain has logits without bound, of which a few would outweigh all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from statistics import StatisticsError, correlation, fmean, pstdev
from typing import NamedTuple

PairTable = tuple[tuple[float | None, ...], ...]


class JudgedResponses(NamedTuple):
    """The responses to one prompt; lengths: in tokens; logits: C_ij, the diagonal 0."""

    texts: tuple[str, ...]
    lengths: tuple[int, ...]
    logits: PairTable
    win_probs: tuple[float, ...] | None


class PreferenceStats(NamedTuple):
    """What to know of one round of judging; None where nothing was judged that could tell it.

    verdicts: ordered pairs asked. missing: of these, those without a value.
        cut_verdicts: of these, those whose judge saw less than there was.
    order_bias: mean of (C_ij + C_ji)/2 over pairs judged both ways: the logit gained by being
        shown first. order_bias_abs: mean of |C_ij + C_ji| over them: what debiasing takes out.
        order_flips: part of them whose two verdicts name different winners.
    ties: pairs with D_ij = 0; tie_rate: their part of the pairs judged both ways.
    duplicate_responses: responses like an earlier one to the same prompt; duplicate_rate: their
        part of all.
    cyclic_triples: part of the triples without ties in which i beats j beats k beats i.
    best_win_prob, worst_win_prob: of a prompt's responses, means over prompts.
    win_prob_spread: standard deviation over a prompt's different responses, mean over prompts.
    length_win_prob_correlation: of length and win probability, within prompts.
    unjudged_prompts: prompts without win probabilities, because verdicts are missing.
    """

    verdicts: int
    missing: int
    cut_verdicts: int
    order_bias: float | None
    order_bias_abs: float | None
    order_flips: float | None
    ties: int
    tie_rate: float | None
    duplicate_responses: int
    duplicate_rate: float | None
    cyclic_triples: float | None
    best_win_prob: float | None
    worst_win_prob: float | None
    win_prob_spread: float | None
    length_win_prob_correlation: float | None
    unjudged_prompts: int


class _Distinct(NamedTuple):
    """The different responses to one prompt: lengths, logits among them, win probabilities."""

    lengths: tuple[int, ...]
    logits: PairTable
    win_probs: tuple[float, ...] | None

    def both_ways(self) -> Iterator[tuple[float, float]]:
        for i, j in combinations(range(len(self.logits)), 2):
            forward, backward = self.logits[i][j], self.logits[j][i]
            if forward is not None and backward is not None:
                yield forward, backward

    def margin(self, i: int, j: int) -> float | None:
        forward, backward = self.logits[i][j], self.logits[j][i]
        return None if forward is None or backward is None else (forward - backward) / 2

    def cycles(self) -> Iterator[bool]:
        """For each triple without ties, whether no response of it beats both others."""
        for i, j, k in combinations(range(len(self.logits)), 3):
            margins = self.margin(i, j), self.margin(j, k), self.margin(k, i)
            signs = [math.copysign(1, margin) for margin in margins if margin]
            if len(signs) == 3:
                yield abs(sum(signs)) == 3


def stats_of(groups: Sequence[JudgedResponses], cut_verdicts: int) -> PreferenceStats:
    """The figures over all prompts of a round, with the number of its cut verdicts."""
    distinct = [_distinct(group) for group in groups]
    asked = [
        group.logits[i][j]
        for group in distinct
        for i, j in permutations(range(len(group.logits)), 2)
    ]
    both_ways = [pair for group in distinct for pair in group.both_ways()]
    ties = sum(forward == backward for forward, backward in both_ways)
    responses = sum(len(group.texts) for group in groups)
    duplicates = responses - sum(len(group.lengths) for group in distinct)
    told_apart = [
        (group.lengths, group.win_probs)
        for group in distinct
        if group.win_probs is not None and len(group.win_probs) > 1
    ]
    win_probs = [group.win_probs for group in groups if group.win_probs is not None]
    return PreferenceStats(
        verdicts=len(asked),
        missing=sum(logit is None for logit in asked),
        cut_verdicts=cut_verdicts,
        order_bias=_mean([(a + b) / 2 for a, b in both_ways]),
        order_bias_abs=_mean([abs(a + b) for a, b in both_ways]),
        order_flips=_mean([float(a * b > 0) for a, b in both_ways]),
        ties=ties,
        tie_rate=ties / len(both_ways) if both_ways else None,
        duplicate_responses=duplicates,
        duplicate_rate=duplicates / responses if responses else None,
        cyclic_triples=_mean([float(cyclic) for group in distinct for cyclic in group.cycles()]),
        best_win_prob=_mean([max(row) for row in win_probs]),
        worst_win_prob=_mean([min(row) for row in win_probs]),
        win_prob_spread=_mean([pstdev(row) for _, row in told_apart]),
        length_win_prob_correlation=_correlation_within(told_apart),
        unjudged_prompts=sum(group.win_probs is None for group in groups),
    )


def _distinct(group: JudgedResponses) -> _Distinct:
    kept = [group.texts.index(text) for text in dict.fromkeys(group.texts)]
    return _Distinct(
        tuple(group.lengths[i] for i in kept),
        tuple(tuple(group.logits[i][j] for j in kept) for i in kept),
        None if group.win_probs is None else tuple(group.win_probs[i] for i in kept),
    )


def _correlation_within(
    groups: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> float | None:
    """Pearson's correlation of two numbers after each prompt's means are taken off both."""
    first = [x - fmean(xs) for xs, _ in groups for x in xs]
    second = [y - fmean(ys) for _, ys in groups for y in ys]
    try:
        return correlation(first, second)
    except StatisticsError:  # fewer than two, or all the same
        return None


def _mean(numbers: Sequence[float]) -> float | None:
    return math.fsum(numbers) / len(numbers) if numbers else None
