"""Scores continuations with a loaded checkpoint: the `Scorer` that benchmarks are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from evalkit.errors import ScoreError
from evalkit.journaled_models import scored
from evalkit.roles import ContinuationScore, LoadedModel, Progress, ScoringRequest
from evalkit.scoring.architectures import causal_lm
from evalkit.scoring.layout import BatchLayout, lay_out
from evalkit.scoring.model import ScoringModel
from evalkit.scoring.planning import default_row_tokens, default_token_budget, laid_out_length
from evalkit.scoring.prefix_tree import Pass, Plan, batch_rows, plan_passes
from evalkit.scoring.stems import Stem, grown


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
        return scored(self, requests, progress)

    def batches(self, requests: Sequence[ScoringRequest]) -> list[list[int]]:
        """Indices of the requests that are computed together, fixed by the request list alone.

        Those without continuations are in none.
        """
        return [one.members for one in self._plan(requests).passes]

    def stream(
        self, requests: Sequence[ScoringRequest], wanted: Sequence[int]
    ) -> Iterator[tuple[int, list[tuple[ContinuationScore, ...]]]]:
        """The answers of some of the batches, by ascending number, each as soon as it is there.

        Raises:
            ScoreError: a request cannot be scored, or the model answers with NaN.
        """
        plan = self._plan(requests)
        stems: dict[int, Stem] = {}  # those that lead to the pass at work
        for number in sorted(wanted):
            one = plan.passes[number]
            stem = self._stem(plan, one.stem, stems)
            yield number, self._forward([requests[i] for i in one.members], one, stem)

    def _plan(self, requests: Sequence[ScoringRequest]) -> Plan:
        layout = self._model.layout
        wanted = [index for index, request in enumerate(requests) if request.continuations]
        chosen = [requests[index] for index in wanted]
        if layout == "tree":
            # Where branches are attended to one by one, a row may be as long as a pass.
            dense = not self._model.branches
            row_tokens = default_row_tokens(self._token_budget, dense)
            plan = plan_passes(chosen, row_tokens, self._token_budget)
        else:
            rows = [([i], laid_out_length(request, layout)) for i, request in enumerate(chosen)]
            plan = Plan([], [Pass(None, batch) for batch in batch_rows(rows, self._token_budget)])
        passes = [
            Pass(stem, [[wanted[index] for index in row] for row in rows])
            for stem, rows in plan.passes
        ]
        return Plan(plan.stems, passes)

    def _stem(self, plan: Plan, number: int | None, stems: dict[int, Stem]) -> Stem | None:
        """The stem of this number; those that do not lead to it are dropped."""
        path = plan.path(number)
        for other in set(stems) - set(path):
            del stems[other]
        for one in path:
            if one not in stems:
                token_ids, below, _ = plan.stems[one]
                with torch.inference_mode():
                    stems[one] = grown(
                        causal_lm(self._model.model),
                        token_ids,
                        None if below is None else stems[below],
                    )
        return None if number is None else stems[number]

    def _forward(
        self, requests: list[ScoringRequest], one: Pass, stem: Stem | None
    ) -> list[tuple[ContinuationScore, ...]]:
        numbers = iter(range(len(requests)))
        renumbered = [[next(numbers) for _ in row] for row in one.rows]
        above = 0 if stem is None else stem.length
        batch = lay_out(requests, renumbered, self._model.layout, above).to(self._device)
        with torch.inference_mode():
            scores = self._model(batch, stem=stem)
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
