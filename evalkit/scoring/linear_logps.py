"""A linear head and its log-softmax as one autograd function over chunks of positions.

All logits of a large batch never exist at once, neither forward nor backward. Legend: U scored
positions, S scored tokens (several may hang on one position), V vocabulary, H hidden size.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Logits computed at a time: on a CPU about what its caches hold, on a GPU what keeps it busy.
CHUNK_LOGITS = {"cpu": 1 << 22, "cuda": 1 << 26}
# When a checkpoint is only scored on a CPU, they would be most of the memory in use.
SCORED_LOGITS = 1 << 20


class Chunk(NamedTuple):
    """Positions (of U), and the tokens (of S) that are scored there."""

    positions: slice
    tokens: slice

    @property
    def size(self) -> int:
        """How many positions."""
        return int(self.positions.stop - self.positions.start)


class Settings(NamedTuple):
    """How logits are computed.

    dtype: of the products; logits and all that follows are float32.
    cap: they are soft-capped at this, cap * tanh(logits / cap). keep: for the backward pass,
    which else computes them again; not together with a cap. watch: entropies are wanted, too.
    """

    dtype: torch.dtype
    cap: float | None
    keep: bool
    watch: bool


def chunks_of(head_S: Tensor, n_positions: int, vocabulary: int) -> list[Chunk]:
    """Consecutive positions whose logits make CHUNK_LOGITS; head_S is ascending."""
    device = head_S.device.type
    most = CHUNK_LOGITS.get(device, CHUNK_LOGITS["cuda"])
    if device == "cpu" and torch.is_inference_mode_enabled():
        most = min(most, SCORED_LOGITS)
    size = max(1, most // vocabulary)
    if n_positions <= size:
        return [Chunk(slice(0, n_positions), slice(0, len(head_S)))]
    edges = [*range(0, n_positions, size), n_positions]
    places = torch.searchsorted(head_S, torch.tensor(edges, device=head_S.device)).tolist()
    return [
        Chunk(slice(*positions), slice(*tokens))
        for positions, tokens in zip(pairwise(edges), pairwise(places), strict=True)
    ]


class LinearLogps(torch.autograd.Function):
    """(hidden_UH, weight_VH, bias_V, head_S, target_S, settings) to (logp_S, greedy_S, entropy_S).

    Only logp_S is differentiable, and once: the backward pass overwrites what was kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_UH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        head_S: Tensor,
        target_S: Tensor,
        settings: Settings,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Softmax of each chunk of logits."""
        chunks = chunks_of(head_S, len(hidden_UH), len(weight_VH))
        linear = _Linear(hidden_UH, weight_VH, bias_V, settings)
        logits_room_UV = _room(chunks, weight_VH)
        exp_room_UV = logits_room_UV
        if settings.keep or settings.watch:
            exp_room_UV = _room(chunks, weight_VH, len(hidden_UH) if settings.keep else None)
        max_U, total_U = logits_room_UV.new_empty((2, len(hidden_UH)))
        logp_S = logits_room_UV.new_empty(len(head_S))
        greedy_S = torch.empty_like(head_S, dtype=torch.bool)
        entropy_S = torch.empty_like(logp_S) if settings.watch else None
        for chunk in chunks:
            at, tokens = chunk
            head_s, target_s = head_S[tokens] - at.start, target_S[tokens]
            logits_UV = linear.logits(chunk, logits_room_UV[: chunk.size])
            max_U[at] = logits_UV.amax(-1)
            below_UV = logits_UV.sub_(max_U[at, None])
            below_s = below_UV[head_s, target_s]
            greedy_S[tokens] = _is_first_of_largest(below_UV, head_s, target_s, below_s == 0)
            exp_UV = exp_room_UV[at if settings.keep else slice(chunk.size)]
            torch.exp(below_UV, out=exp_UV)
            total_U[at] = exp_UV.sum(-1)
            log_total_U = total_U[at].log()
            logp_S[tokens] = below_s - log_total_U[head_s]
            if entropy_S is not None:
                mean_U = below_UV.mul_(exp_UV).sum(-1) / total_U[at]
                entropy_S[tokens] = (log_total_U - mean_U)[head_s]
        ctx.save_for_backward(hidden_UH, weight_VH, bias_V, head_S, target_S, max_U, total_U)
        ctx.settings, ctx.chunks = settings, chunks
        ctx.exp_UV = exp_room_UV if settings.keep else None
        ctx.mark_non_differentiable(*(x for x in (greedy_S, entropy_S) if x is not None))
        return logp_S, greedy_S, entropy_S

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_S: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """d logp / d logits is 1 at the target, less the softmax."""
        hidden_UH, weight_VH, bias_V, head_S, target_S, max_U, total_U = ctx.saved_tensors
        kept_UV, ctx.exp_UV = ctx.exp_UV, None  # a second backward pass would compute it again
        linear = _Linear(hidden_UH, weight_VH, bias_V, ctx.settings)
        gradients = _Gradients(linear, ctx.needs_input_grad[:3])
        room_UV = _room(ctx.chunks, weight_VH) if kept_UV is None else kept_UV
        share_U = grad_S.new_zeros(len(hidden_UH)).index_add(0, head_S, grad_S) / total_U
        for chunk in ctx.chunks:
            at, tokens = chunk
            slope_UV = None
            if kept_UV is not None:
                exp_UV = kept_UV[at]
            else:
                logits_UV = linear.logits(chunk, room_UV[: chunk.size])
                slope_UV = linear.slope(logits_UV)
                exp_UV = logits_UV.sub_(max_U[at, None]).exp_()
            grad_UV = exp_UV.mul_(-share_U[at, None])
            places = (head_S[tokens] - at.start, target_S[tokens])
            grad_UV.index_put_(places, grad_S[tokens], accumulate=True)
            gradients.add(chunk, grad_UV if slope_UV is None else grad_UV.mul_(slope_UV))
        return (*gradients.as_stored(), None, None, None)


class _Linear:
    """Hidden states and weights in the precision of the products."""

    def __init__(
        self, hidden_UH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, settings: Settings
    ) -> None:
        self.given = (hidden_UH, weight_VH, bias_V)
        self.hidden_UH = hidden_UH.to(settings.dtype)
        self.weight_VH = weight_VH.to(settings.dtype)
        self._cap = settings.cap

    def logits(self, chunk: Chunk, room_UV: Tensor) -> Tensor:
        """Logits of the chunk, written into `room_UV`."""
        hidden_UH, bias_V = self.hidden_UH[chunk.positions], self.given[2]
        with torch.autocast(hidden_UH.device.type, enabled=False):
            if hidden_UH.dtype == room_UV.dtype:
                torch.mm(hidden_UH, self.weight_VH.T, out=room_UV)
            else:
                room_UV.copy_(torch.mm(hidden_UH, self.weight_VH.T))
        if bias_V is not None:
            room_UV += bias_V
        return room_UV if self._cap is None else room_UV.div_(self._cap).tanh_().mul_(self._cap)

    def slope(self, logits_UV: Tensor) -> Tensor | None:
        """The derivative of the soft cap where it gave these logits."""
        return None if self._cap is None else 1 - (logits_UV / self._cap) ** 2


class _Gradients:
    """Gradients of hidden states, weight and bias: those that are needed.

    Of the weights they are added up in float32, whatever the precision of the products.
    """

    def __init__(self, linear: _Linear, needed: tuple[bool, ...]) -> None:
        self._linear = linear
        hidden, weight, bias = linear.given
        self._hidden_UH = torch.empty_like(hidden) if needed[0] else None
        self._weight_VH = torch.zeros_like(weight, dtype=torch.float32) if needed[1] else None
        self._bias_V = None
        if bias is not None and needed[2]:
            self._bias_V = torch.zeros_like(bias, dtype=torch.float32)

    def add(self, chunk: Chunk, grad_UV: Tensor) -> None:
        """Adds what a chunk's gradient of logits comes to."""
        if self._bias_V is not None:
            self._bias_V += grad_UV.sum(0)
        grad_UV = grad_UV.to(self._linear.weight_VH.dtype)
        if self._hidden_UH is not None:
            self._hidden_UH[chunk.positions] = grad_UV @ self._linear.weight_VH
        hidden_UH = self._linear.hidden_UH[chunk.positions]
        if self._weight_VH is None:
            return
        if grad_UV.dtype == self._weight_VH.dtype:
            self._weight_VH.addmm_(grad_UV.T, hidden_UH)
        else:
            self._weight_VH += grad_UV.T @ hidden_UH

    def as_stored(self) -> tuple[Tensor | None, ...]:
        """Each in the dtype of what it is the gradient of."""
        found = (self._hidden_UH, self._weight_VH, self._bias_V)
        return tuple(
            None if gradient is None or one is None else gradient.to(one.dtype)
            for gradient, one in zip(found, self._linear.given, strict=True)
        )


def _is_first_of_largest(
    logits_UV: Tensor, head_s: Tensor, target_s: Tensor, is_largest_s: Tensor
) -> Tensor:
    """Which targets `argmax` would give: the first of equals; it is slow, so where it matters."""
    [places] = is_largest_s.nonzero(as_tuple=True)
    is_first_s = is_largest_s.clone()
    is_first_s[places] = logits_UV[head_s[places]].argmax(-1) == target_s[places]
    return is_first_s


def _room(chunks: list[Chunk], weight_VH: Tensor, rows: int | None = None) -> Tensor:
    rows = rows or max(chunk.size for chunk in chunks)
    return weight_VH.new_empty((rows, len(weight_VH)), dtype=torch.float32)
