"""Log-probabilities of tokens from hidden states, under whatever head a model has.

Legend: U scored positions, S scored tokens (several may hang on one position), V vocabulary,
H hidden size, X either H or V. Logits and everything made of them are float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from evalkit.scoring.linear_logps import LinearLogps, Settings, chunks_of

KEPT_LOGITS = 1 << 25  # above this many (128 MiB) the backward pass computes them again


class TokenScores(NamedTuple):
    """Of each scored token; only logp_S carries the graph. entropy_S is None unless watched."""

    logp_S: Tensor
    greedy_S: Tensor
    entropy_S: Tensor | None


class Targets(NamedTuple):
    """Which token ids are scored under which position; head_S is ascending."""

    head_S: Tensor
    target_S: Tensor


def score_tokens(
    head: nn.Module, hidden_UH: Tensor, targets: Targets, cap: float | None, watch: bool
) -> TokenScores:
    """Log-probabilities of tokens under the output embedding `head`.

    cap: logits are soft-capped at this, cap * tanh(logits / cap).
    """
    if _is_plain_linear(head):
        return _fused(head, hidden_UH, targets, cap, watch)
    vocabulary = int(getattr(head, "out_features", 0)) or int(head(hidden_UH[:1]).shape[-1])
    return _by_calls(lambda x_UH: _capped(head(x_UH), cap), hidden_UH, vocabulary, targets, watch)


def score_logits(logits_UV: Tensor, targets: Targets, watch: bool) -> TokenScores:
    """Log-probabilities of tokens under logits that a model has computed whole."""
    return _by_calls(lambda x_UV: x_UV, logits_UV, logits_UV.shape[-1], targets, watch)


def _capped(logits_UV: Tensor, cap: float | None) -> Tensor:
    return logits_UV if cap is None else torch.tanh(logits_UV / cap) * cap


# --- any head: it is called, and recomputed chunk by chunk ---


def _by_calls(
    head: Callable[[Tensor], Tensor],
    inputs_UX: Tensor,
    vocabulary: int,
    targets: Targets,
    watch: bool,
) -> TokenScores:
    recompute = torch.is_grad_enabled() and len(inputs_UX) * vocabulary > KEPT_LOGITS
    scores = []
    for chunk in chunks_of(targets.head_S, len(inputs_UX), vocabulary):
        arguments = (
            head,
            inputs_UX[chunk.positions],
            targets.head_S[chunk.tokens] - chunk.positions.start,
            targets.target_S[chunk.tokens],
            watch,
        )
        if recompute:
            scores.append(checkpoint(_score, *arguments, use_reentrant=False))
        else:
            scores.append(_score(*arguments))
    logps, hits, entropies = zip(*scores, strict=True)
    return TokenScores(torch.cat(logps), torch.cat(hits), torch.cat(entropies) if watch else None)


def _score(
    head: Callable[[Tensor], Tensor],
    inputs_UX: Tensor,
    head_S: Tensor,
    target_S: Tensor,
    watch: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    logits_UV = head(inputs_UX).float()
    normaliser_U = logits_UV.logsumexp(-1)
    logp_S = logits_UV[head_S, target_S] - normaliser_U[head_S]
    with torch.no_grad():
        greedy_S = logits_UV.argmax(-1)[head_S] == target_S
        entropy_S = None
        if watch:
            logp_UV = logits_UV - normaliser_U[:, None]
            entropy_S = -(logp_UV.exp() * logp_UV).sum(-1)[head_S]
    return logp_S, greedy_S, entropy_S


# --- an ordinary linear head: one autograd function, in place ---


def _is_plain_linear(head: nn.Module) -> bool:
    """Whether calling it does nothing but multiply: no adapter, quantization or offloading."""
    return type(head) is nn.Linear and "forward" not in vars(head)


def _fused(
    head: nn.Module, hidden_UH: Tensor, targets: Targets, cap: float | None, watch: bool
) -> TokenScores:
    device = hidden_UH.device.type
    detached: list[Tensor | None] = []

    def forward(inputs_UH: Tensor) -> Tensor:
        autocast = torch.is_autocast_enabled(device)
        small = len(inputs_UH) * len(head.weight) <= KEPT_LOGITS
        settings = Settings(
            dtype=torch.get_autocast_dtype(device) if autocast else head.weight.dtype,
            cap=cap,
            keep=small and cap is None and torch.is_grad_enabled(),
            watch=watch,
        )
        logp_S, *others = LinearLogps.apply(inputs_UH, head.weight, head.bias, *targets, settings)
        detached.extend(others)
        return logp_S

    # Inside a call of the head, as this is where DeepSpeed (ZeRO-3) and FSDP have its weights
    # gathered, forward and backward. They see one tensor going in and one coming out.
    with _forward_replaced(head, forward):
        logp_S = head(hidden_UH)
    greedy_S, entropy_S = detached
    assert greedy_S is not None
    return TokenScores(logp_S, greedy_S, entropy_S)


@contextlib.contextmanager
def _forward_replaced(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
