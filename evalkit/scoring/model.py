"""One module that turns packed rows into summed log-probabilities of continuations.

Backbone and head run inside one `forward`, so that what accelerate, DDP or FSDP wrap is
this module and gradients are synchronised as for any other.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from evalkit.errors import ScoreError
from evalkit.scoring.architectures import (
    attention_kernel,
    causal_lm,
    depends_on_input_length,
    inexact_because,
    known_architecture,
)
from evalkit.scoring.backbone import scored_hidden, scored_logits, scored_logits_alone
from evalkit.scoring.branching import BRANCHING
from evalkit.scoring.head import Targets, TokenScores, score_logits, score_tokens
from evalkit.scoring.layout import BatchLayout, PackedBatch
from evalkit.scoring.stems import Stem


class ContinuationLogps(NamedTuple):
    """What a forward pass says of continuations (N) and, detached, of their tokens (S).

    Tokens stand continuation by continuation, n_tokens_N of each, as they are read.
    logp_N, token_logp_S: log-probabilities (nats, float32); only logp_N carries the graph.
    greedy_N, greedy_S: whether the token, or all of them, had the largest probability.
    entropy_S: entropy (nats) of the distribution each token was drawn from; None unless watched.
    """

    logp_N: Tensor
    greedy_N: Tensor
    n_tokens_N: Tensor
    token_logp_S: Tensor
    greedy_S: Tensor
    entropy_S: Tensor | None


class ScoringModel(nn.Module):
    """A causal LM that scores continuations; `model` is the transformers (or peft) model inside.

    layout: of the batches it is given; default tree where that is exact, else padded.
    precision: what a pass computes in where the weights have more, `float32` or `bfloat16`. The
        rule stands here and not around the pass, so that no wrapper casts weights or sums.
    """

    def __init__(
        self, model: Any, layout: BatchLayout | None = None, precision: str = "float32"
    ) -> None:
        super().__init__()
        self.model = model
        self.precision = precision
        inside = causal_lm(model)
        if layout is None:
            layout = "padded" if inexact_because(inside, "tree") else "tree"
        self.layout: BatchLayout = layout
        if layout == "tree" and inside.device.type == "cpu" and attention_kernel(inside) == "sdpa":
            inside.set_attn_implementation(BRANCHING)
        # None: the model is called whole, and its logits at all positions are computed.
        self._architecture = known_architecture(inside)
        self._alone = depends_on_input_length(inside)
        if self._alone:
            self._architecture = None

    @property
    def config(self) -> Any:
        """The transformers configuration of the model inside."""
        return self.model.config

    @property
    def can_recompute_activations(self) -> bool:
        """Whether the model inside has layers that recompute theirs."""
        return bool(getattr(causal_lm(self.model), "supports_gradient_checkpointing", False))

    def recompute_activations(self, whether: bool) -> None:
        """Has passes in training keep the inputs of layers only; the backward pass then needs less.

        Values and gradients stay the same.
        """
        inside = causal_lm(self.model)
        if whether == inside.is_gradient_checkpointing:
            return
        if not whether:
            inside.gradient_checkpointing_disable()
            return
        inside.gradient_checkpointing_enable()
        layers = [one for one in inside.modules() if isinstance(one, GradientCheckpointingLayer)]
        # What the last layer keeps is needed at once, so to recompute it would save nothing.
        for last in layers[1:][-1:]:
            last.gradient_checkpointing = False

    @property
    def branches(self) -> bool:
        """Whether attention takes a row of a tree branch by branch, however long the row is."""
        if self._architecture is None or attention_kernel(causal_lm(self.model)) != BRANCHING:
            return False
        return all(window is None for window in self._architecture.windows.values())

    def forward(
        self, batch: PackedBatch, watch: bool = False, stem: Stem | None = None
    ) -> ContinuationLogps:
        """Scores every continuation of the batch; differentiable in `logp_N`.

        watch: also computes `entropy_S`, at the cost of another pass over the logits.
        stem: what all rows go on from; no gradient reaches it.

        Raises:
            ScoreError: the batch has another layout.
        """
        if batch.layout != self.layout:
            raise ScoreError(f"a {self.layout} model was given a batch laid out as {batch.layout}")
        with _computing_in(self.precision, batch.input_ids_RT.device.type):
            return _by_continuation(self._scores(batch, watch, stem), batch)

    def _scores(self, batch: PackedBatch, watch: bool, stem: Stem | None) -> TokenScores:
        inside = causal_lm(self.model)
        targets = Targets(batch.head_S, batch.target_S)
        if self._architecture is None:
            logits_UV = (scored_logits_alone if self._alone else scored_logits)(inside, batch)
            return score_logits(logits_UV, targets, watch)
        hidden_UH = scored_hidden(inside, self._architecture, batch, stem)
        cap = getattr(self.config, "final_logit_softcapping", None)
        return score_tokens(inside.get_output_embeddings(), hidden_UH, targets, cap, watch)


def _computing_in(precision: str, device_type: str) -> contextlib.AbstractContextManager[Any]:
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=getattr(torch, precision))


def _by_continuation(scores: TokenScores, batch: PackedBatch) -> ContinuationLogps:
    order_S = batch.continuation_S.argsort(stable=True)
    greedy_S = scores.greedy_S[order_S]
    n_tokens_N = torch.bincount(batch.continuation_S, minlength=batch.n_continuations)
    # In float64 the order in which a layout adds the tokens up cannot be seen in the sum.
    sum_N = torch.zeros_like(n_tokens_N, dtype=torch.float64)
    sum_N = sum_N.index_add(0, batch.continuation_S, scores.logp_S.double())
    hits_N = torch.zeros_like(n_tokens_N).index_add(
        0, batch.continuation_S[order_S], greedy_S.to(n_tokens_N.dtype)
    )
    return ContinuationLogps(
        logp_N=sum_N.float(),
        greedy_N=hits_N == n_tokens_N,
        n_tokens_N=n_tokens_N,
        token_logp_S=scores.logp_S.detach()[order_S],
        greedy_S=greedy_S,
        entropy_S=None if scores.entropy_S is None else scores.entropy_S[order_S],
    )
