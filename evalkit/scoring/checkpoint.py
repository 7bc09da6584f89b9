"""Scores continuations with a loaded checkpoint: the `Scorer` that benchmarks are given."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from evalkit.errors import ScoreError
from evalkit.roles import ContinuationScore, LoadedModel, Progress, ScoringRequest
from evalkit.scoring.layout import BatchLayout, Row, lay_out
from evalkit.scoring.model import ScoringModel
from evalkit.scoring.planning import (
    ROW_TOKENS,
    batch_rows,
    default_token_budget,
    laid_out_length,
    prefix_rows,
)


class CheckpointScorer:
    """Log-probabilities of continuations under one checkpoint; see `roles.Scorer`.

    token_budget: padded tokens per forward pass; default by device.
    layout: default tree where that is exact, else padded.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        token_budget: int | None = None,
        layout: BatchLayout | None = None,
    ) -> None:
        self._model = ScoringModel(loaded.model, layout).eval()
        self._device = loaded.model.device
        self._token_budget = token_budget or default_token_budget(self._device.type)
        self.tokenizer = loaded.tokenizer

    @property
    def max_length(self) -> int | None:
        """Tokens of prompt and continuation that the model was made for, where it says so."""
        config = self._model.config.get_text_config()  # of a model that sees, one of several
        limit = getattr(config, "max_position_embeddings", None)
        return None if limit is None else int(limit)

    def score(
        self, requests: Sequence[ScoringRequest], progress: Progress
    ) -> list[tuple[ContinuationScore, ...]]:
        """One score per continuation, in request order.

        Raises:
            ScoreError: a request cannot be scored, or the model answers with NaN.
        """
        scores: list[tuple[ContinuationScore, ...]] = [()] * len(requests)
        wanted = [index for index, request in enumerate(requests) if request.continuations]
        done = len(requests) - len(wanted)
        for rows in self._plan([requests[index] for index in wanted]):
            members = [wanted[index] for row in rows for index in row]
            for index, score in zip(
                members, self._forward([requests[i] for i in members], rows), strict=True
            ):
                scores[index] = score
            done += len(members)
            progress(done, len(requests), "scoring")
        return scores

    def _plan(self, requests: list[ScoringRequest]) -> list[list[Row]]:
        layout = self._model.layout
        if layout == "tree":
            shared = prefix_rows(requests, min(ROW_TOKENS, self._token_budget))
            return batch_rows(shared, self._token_budget)
        rows = [([i], laid_out_length(request, layout)) for i, request in enumerate(requests)]
        return batch_rows(rows, self._token_budget)

    def _forward(
        self, requests: list[ScoringRequest], rows: list[Row]
    ) -> list[tuple[ContinuationScore, ...]]:
        numbers = iter(range(len(requests)))
        renumbered = [[next(numbers) for _ in row] for row in rows]
        batch = lay_out(requests, renumbered, self._model.layout).to(self._device)
        with torch.inference_mode():
            scores = self._model(batch)
        if not torch.isfinite(scores.logp_N).all():
            raise ScoreError(
                "the model gives log-probabilities that are not numbers",
                "its weights may be damaged: check the checkpoint, or use precision float32",
            )
        flat = iter(zip(scores.logp_N.tolist(), scores.greedy_N.tolist(), strict=True))
        return [
            tuple(ContinuationScore(*_numbers(next(flat), len(c))) for c in request.continuations)
            for request in requests
        ]


def _numbers(score: tuple[float, bool], n_tokens: int) -> tuple[float, int, bool]:
    return score[0], n_tokens, score[1]
