"""Attention along a tree without a mask as large as the row: one call of a kernel for each branch.

A dense mask lets a kernel compute every pair of tokens and throw most away. Here the queries of
a branch meet the keys of its own path only, and what is small goes on together under a small mask.
Shapes: T tokens of a row, h heads, d their size, n queries and m keys of a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from evalkit.scoring.layout import PackedBatch
from evalkit.scoring.stems import Attended, Stem, attended, attended_stem

# The name under which transformers knows it; without calls it is its own `sdpa`.
BRANCHING = "evalkit_branching"
CALL_COST = 64 * 64  # what a call costs in itself, in pairs of tokens (measured on a CPU)


class Call(NamedTuple):
    """Attention of a part of a row, to itself and to the parts it goes on from.

    ancestors: those parts, by number, in order. length: tokens of the part.
    mask_nm: who sees whom; None: all of them are one sequence, and attention is causal.
    """

    ancestors: tuple[int, ...]
    length: int
    mask_nm: Tensor | None


class _Part(NamedTuple):
    """Tokens [start, end) of a row below ancestors of `depth` tokens; `whole`: under a mask."""

    start: int
    end: int
    ancestors: tuple[int, ...]
    depth: int
    whole: bool


def calls_of(batch: PackedBatch) -> list[list[Call]] | None:
    """The calls for each row of a batch of trees; None where one dense mask costs no more."""
    rows = [_Tree(ends_T.tolist()) for ends_T in batch.subtree_end_RT]
    plans = [row.plan(int(length)) for row, length in zip(rows, batch.length_R, strict=True)]
    dense = batch.input_ids_RT.numel() * batch.input_ids_RT.shape[1] + CALL_COST
    if sum(cost for cost, _ in plans) >= dense:
        return None
    return [
        [_call(part, ends_T) for part in parts]
        for (_, parts), ends_T in zip(plans, batch.subtree_end_RT, strict=True)
    ]


class _Tree:
    """A row's tokens in depth-first order; ends_T: where the subtree of each ends."""

    def __init__(self, ends: Sequence[int]) -> None:
        self._ends = ends

    def plan(self, length: int) -> tuple[int, list[_Part]]:
        """What the cheapest calls cost, and the parts they compute, in order."""
        parts: list[_Part] = []
        cost = self._divide(0, length, (), 0, parts)
        return cost, parts

    def _divide(
        self, start: int, end: int, ancestors: tuple[int, ...], depth: int, parts: list[_Part]
    ) -> int:
        """Adds the parts of the trees in [start, end) to `parts`; their cost."""
        size, first = end - start, len(parts)
        together = size * (depth + size) + CALL_COST
        cost, at = 0, start
        while at < end and cost < together:
            below = self._ends[at]
            chain = self._chain_end(at)
            length = chain - at
            # As the tail of one causal sequence, or as queries of their own under a mask.
            causal, masked = (depth + length) ** 2 // 2, length * (depth + length)
            is_masked = masked < causal and length > 1
            cost += min(causal, masked) + CALL_COST
            number = len(parts)
            parts.append(_Part(at, chain, ancestors, depth, is_masked))
            if chain < below:
                cost += self._divide(chain, below, (*ancestors, number), depth + length, parts)
            at = below
        if cost < together:
            return cost
        del parts[first:]
        parts.append(_Part(start, end, ancestors, depth, True))
        return together

    def _chain_end(self, start: int) -> int:
        """Where the tokens that follow `start` one by one, without any branch, end."""
        end = self._ends[start]
        at = start + 1
        while at < end and self._ends[at] == end:
            at += 1
        return at


def _call(part: _Part, ends_T: Tensor) -> Call:
    length = part.end - part.start
    if not part.whole:
        return Call(part.ancestors, length, None)
    index_n = torch.arange(part.start, part.end, device=ends_T.device)
    own_nn = (index_n[:, None] >= index_n) & (index_n[:, None] < ends_T[part.start : part.end])
    above_nm = own_nn.new_ones((length, part.depth))
    return Call(part.ancestors, length, torch.cat([above_nm, own_nn], dim=1))


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    calls: list[list[Call]] | None = None,
    stem: Stem | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers: (R, h, T, d) thrice to (R, T, h, d).

    calls: for each row, of its parts in order; `attention_mask` then says nothing.
    stem: what all rows go on from, together with `calls` only.
    """
    if calls is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return output, None
    rows = []
    for one, *states in zip(calls, query.split(1), key.split(1), value.split(1), strict=True):
        if stem is None:
            rows.append(_attend_in_row(module, one, states, options))
            continue
        scale = options.get("scaling")
        own = _attended_in_row(one, states, scale)
        above = attended_stem(states[0], stem, int(module.layer_idx), scale)
        rows.append(above.joined(own).transpose(1, 2))
    return torch.cat(rows), None


def _attend_in_row(
    module: torch.nn.Module, calls: list[Call], states: list[Tensor], options: dict[str, Any]
) -> Tensor:
    width = states[0].shape[2]
    lengths = [call.length for call in calls]
    padding = width - sum(lengths)
    # Cut once: gradients of the pieces are then put together once, too.
    query_parts, key_parts, value_parts = (
        state.split([*lengths, padding], dim=2) for state in states
    )
    outputs = []
    for number, call in enumerate(calls):
        path = (*call.ancestors, number)
        queries = path if call.mask_nm is None else (number,)
        mask = None if call.mask_nm is None else call.mask_nm[None, None]
        output, _ = sdpa_attention_forward(
            module,
            _joined(query_parts, queries),
            _joined(key_parts, path),
            _joined(value_parts, path),
            mask,
            **options,
        )
        outputs.append(output[:, -call.length :])
    if padding:
        like = outputs[0]
        outputs.append(like.new_zeros((1, padding, *like.shape[2:])))
    return torch.cat(outputs, dim=1)


def _attended_in_row(calls: list[Call], states: list[Tensor], scale: float | None) -> Attended:
    """The same with its normaliser, on a CPU; every part sees its path under a mask."""
    lengths = [call.length for call in calls]
    padding = states[0].shape[2] - sum(lengths)
    query_parts, key_parts, value_parts = (
        state.split([*lengths, padding], dim=2) for state in states
    )
    found = []
    for number, call in enumerate(calls):
        path = (*call.ancestors, number)
        keys, values = _joined(key_parts, path), _joined(value_parts, path)
        mask_nm = call.mask_nm
        if mask_nm is None:
            mask_nm = _tail_mask(call.length, keys.shape[2], keys.device)
        found.append(attended(query_parts[number], keys, values, mask_nm, scale))
    if padding:
        like = query_parts[-1]
        found.append(Attended(like, like.new_zeros(like.shape[:3], dtype=torch.float32)))
    outputs, normalisers = zip(*found, strict=True)
    return Attended(torch.cat(outputs, dim=2), torch.cat(normalisers, dim=2))


def _tail_mask(n: int, m: int, device: torch.device) -> Tensor:
    """Who sees whom where the last n of m tokens that follow one another ask."""
    return torch.ones((n, m), dtype=torch.bool, device=device).tril_(m - n)


def _joined(parts: Sequence[Tensor], numbers: Sequence[int]) -> Tensor:
    if len(numbers) == 1:
        return parts[numbers[0]]
    return torch.cat([parts[number] for number in numbers], dim=2)


AttentionInterface.register(BRANCHING, attend)
AttentionMaskInterface.register(BRANCHING, sdpa_mask)
