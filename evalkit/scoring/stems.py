"""Beginnings that many requests share, computed once: their keys and values, and who sees them.

What goes on from a stem attends to all of it and, in its own row, along its branch. Where calls of
a kernel do the latter, the two parts are computed apart and joined by their softmax normalisers.
Shapes: P tokens of a stem, T of a row, n queries, h heads, k key heads, d their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class Stem(NamedTuple):
    """Keys and values of its tokens in every layer, those of what it goes on from included."""

    cache: DynamicCache
    length: int

    def repeated(self, rows: int) -> DynamicCache:
        """A cache for so many rows that go on from it; the stem itself stays as it is."""
        cache = DynamicCache()  # made without the config, it keeps all keys of windowed layers
        for number, layer in enumerate(self.cache.layers):
            states = (layer.keys, layer.values)
            cache.update(*(one.expand(rows, -1, -1, -1) for one in states), number)
        return cache


def grown(model: Any, token_ids: Sequence[int], below: Stem | None) -> Stem:
    """The stem of these tokens, which follow those of `below`."""
    start = 0 if below is None else below.length
    cache = DynamicCache() if below is None else below.repeated(1)
    ids_1P = torch.tensor([list(token_ids)], device=model.device)
    model.base_model(
        input_ids=ids_1P,
        position_ids=torch.arange(start, start + len(token_ids), device=model.device)[None],
        past_key_values=cache,
        use_cache=True,
    )
    return Stem(cache, start + len(token_ids))


class Attended(NamedTuple):
    """Attention over some of the keys: what it gives (1, h, n, d), and its normaliser (1, h, n)."""

    output: Tensor
    normaliser: Tensor

    def joined(self, other: Attended) -> Tensor:
        """Attention over the keys of both."""
        share = torch.sigmoid(self.normaliser - other.normaliser)[..., None]
        return torch.lerp(other.output, self.output, share.to(self.output.dtype))


def attended(
    query: Tensor, key: Tensor, value: Tensor, mask_nm: Tensor | None, scale: float | None
) -> Attended:
    """Attention of a part of a row on a CPU, to all of the keys or along a mask."""
    key, value = (_for_all_heads(one, query.shape[1]) for one in (key, value))
    bias = None
    if mask_nm is not None:
        bias = torch.zeros_like(mask_nm, dtype=query.dtype).masked_fill_(~mask_nm, -torch.inf)
    output, normaliser = _flash(query, key, value, attn_mask=bias, scale=scale)
    return Attended(output, normaliser)


def attended_stem(query: Tensor, stem: Stem, layer: int, scale: float | None) -> Attended:
    """Attention of all tokens of a row to all of the stem."""
    keys, values = stem.cache.layers[layer].keys, stem.cache.layers[layer].values
    heads, tokens, size = query.shape[1:]
    # Without a mask it does not matter which query is whose: heads that share keys become one.
    grouped = query.reshape(1, keys.shape[1], -1, size)
    output, normaliser = _flash(grouped, keys, values, scale=scale)
    shape = (1, heads, tokens)
    return Attended(output.reshape(*shape, size), normaliser.reshape(shape))


def _for_all_heads(states: Tensor, heads: int) -> Tensor:
    groups = heads // states.shape[1]
    return states if groups == 1 else states.repeat_interleave(groups, dim=1)
