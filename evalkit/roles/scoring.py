"""Log-probabilities of continuations: what is asked, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from evalkit.roles.plugin import Progress


class ScoringRequest(NamedTuple):
    """Continuations of one prompt (token ids), to be scored under a causal LM."""

    prompt_token_ids: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]


class ContinuationScore(NamedTuple):
    """Summed log-probability (nats, fp32), token count, and whether greedy decoding gives it."""

    logp: float
    n_tokens: int
    is_greedy: bool


class Scorer(Protocol):
    """The scoring core seen from outside (`scoring.py` implements it)."""

    def score(
        self, requests: Sequence[ScoringRequest], progress: Progress
    ) -> list[tuple[ContinuationScore, ...]]:
        """One score per continuation, in request order."""

    def batches(self, requests: Sequence[ScoringRequest]) -> list[list[int]]:
        """Indices of the requests that are computed together, fixed by the request list alone."""

    def stream(
        self, requests: Sequence[ScoringRequest], wanted: Sequence[int]
    ) -> Iterator[tuple[int, list[tuple[ContinuationScore, ...]]]]:
        """The answers of some of the batches, each with its number as soon as it is there."""
