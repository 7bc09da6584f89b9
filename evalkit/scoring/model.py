"""One module that turns packed rows into summed log-probabilities of continuations.

Backbone and head run inside one `forward`, so that what accelerate, DDP or FSDP wrap is
this module and gradients are synchronised as for any other.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from evalkit.scoring.architectures import attention_masks, tree_attention
from evalkit.scoring.layout import PackedBatch

CHUNK_LOGITS = 1 << 24  # logits computed at a time (64 MiB in float32)
KEPT_LOGITS = 1 << 27  # above this many the backward pass computes them again


class ContinuationLogps(NamedTuple):
    """Summed log-probabilities (nats, float32), and whether each token was the likeliest."""

    logp_N: Tensor
    greedy_N: Tensor


class ScoringModel(nn.Module):
    """A causal LM that scores continuations; `model` is the transformers model inside.

    shared: whether prompts are computed once for all continuations; default wherever that is
        exact. Lay batches out with the same value.
    """

    def __init__(self, model: Any, shared: bool | None = None) -> None:
        super().__init__()
        self.model = model
        self._attention = tree_attention(model) if shared is not False else None

    @property
    def shared(self) -> bool:
        """Whether batches must be laid out as trees (`lay_out(..., shared=...)`)."""
        return self._attention is not None

    @property
    def config(self) -> Any:
        """The transformers configuration of the model inside."""
        return self.model.config

    def forward(self, batch: PackedBatch) -> ContinuationLogps:
        """Scores every continuation of the batch; differentiable in `logp_N`."""
        outputs_UX = self._hidden(batch) if self.shared else self._logits(batch)
        bounds = _chunk_bounds(batch, self._vocabulary())
        recompute = torch.is_grad_enabled() and (
            len(batch.position_U) * self._vocabulary() > KEPT_LOGITS
        )
        logps, hits = [], []
        for (first, last), (start, stop) in bounds:
            head_S = batch.head_S[start:stop] - first
            arguments = (outputs_UX[first:last], head_S, batch.target_S[start:stop])
            if recompute:
                logp_S, hit_S = checkpoint(self._score, *arguments, use_reentrant=False)
            else:
                logp_S, hit_S = self._score(*arguments)
            logps.append(logp_S)
            hits.append(hit_S)
        return _sum_by_continuation(torch.cat(logps), torch.cat(hits), batch)

    def _hidden(self, batch: PackedBatch) -> Tensor:
        assert self._attention is not None
        output = self.model.base_model(
            input_ids=batch.input_ids_RT,
            position_ids=batch.position_ids_RT,
            attention_mask=attention_masks(batch, self._attention, self.model.dtype),
            use_cache=False,  # a cache would switch off what the model knows of packed rows
        )
        hidden: Tensor = output.last_hidden_state
        return hidden.flatten(0, 1)[batch.position_U]

    def _logits(self, batch: PackedBatch) -> Tensor:
        index_T = torch.arange(batch.input_ids_RT.shape[1], device=batch.input_ids_RT.device)
        mask_RT = (index_T[None] < batch.length_R[:, None]).long()
        output = self.model(input_ids=batch.input_ids_RT, attention_mask=mask_RT, use_cache=False)
        logits: Tensor = output.logits
        return logits.flatten(0, 1)[batch.position_U]

    def _score(self, outputs_UX: Tensor, head_S: Tensor, target_S: Tensor) -> tuple[Tensor, Tensor]:
        logits_UV = (self._head(outputs_UX) if self.shared else outputs_UX).float()
        logp_S = logits_UV[head_S, target_S] - logits_UV.logsumexp(-1)[head_S]
        return logp_S, logits_UV.detach().argmax(-1)[head_S] == target_S

    def _head(self, hidden_UH: Tensor) -> Tensor:
        logits_UV: Tensor = self.model.get_output_embeddings()(hidden_UH)
        cap = getattr(self.config, "final_logit_softcapping", None)
        return logits_UV if cap is None else torch.tanh(logits_UV / cap) * cap

    def _vocabulary(self) -> int:
        return int(self.config.vocab_size)


def _chunk_bounds(
    batch: PackedBatch, vocabulary: int
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Slices of U, and of S that belongs to them, whose logits fit in CHUNK_LOGITS."""
    total = len(batch.position_U)
    size = max(1, CHUNK_LOGITS // vocabulary)
    if total <= size:
        return [((0, total), (0, len(batch.head_S)))]
    edges = [*range(0, total, size), total]
    marks = torch.tensor(edges, device=batch.head_S.device)
    places = torch.searchsorted(batch.head_S, marks).tolist()
    return list(zip(pairwise(edges), pairwise(places), strict=True))


def _sum_by_continuation(logp_S: Tensor, hit_S: Tensor, batch: PackedBatch) -> ContinuationLogps:
    logp_N = logp_S.new_zeros(batch.n_continuations).index_add(0, batch.continuation_S, logp_S)
    misses_N = torch.zeros_like(logp_N).index_add(
        0, batch.continuation_S, (~hit_S).to(logp_N.dtype)
    )
    return ContinuationLogps(logp_N, misses_N == 0)
