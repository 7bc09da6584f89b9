"""Knows for which architectures a tree-shaped attention mask is exact, and in which form.

Everything not listed here takes the plain padded path. Source: the `forward` of each
model in transformers 5.17 (which masks it makes, and whether it passes 4D masks through).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from evalkit.scoring.layout import PackedBatch

# One mask for all layers, with the window of `config.sliding_window` where there is one.
_ONE_MASK = frozenset({"llama", "mistral", "gemma", "phi", "phi3"})
# A mask for each kind of layer in `config.layer_types`.
_MASK_PER_LAYER_TYPE = frozenset({"qwen2", "qwen3", "gemma2"})
# Rotary embeddings that depend on the length of the whole input, not on positions alone.
_LENGTH_DEPENDENT_ROPE = frozenset({"dynamic", "longrope"})


class TreeAttention(NamedTuple):
    """How a model is told to attend along a tree.

    windows: sliding window (None: unlimited) by layer type, or under "" for all layers alike.
    additive: the mask is added to the attention scores (eager), not boolean (sdpa).
    """

    windows: dict[str, int | None]
    additive: bool


def tree_attention(model: Any) -> TreeAttention | None:
    """How `model` takes a tree mask, or None where that would not be exact."""
    config = model.config
    kind = getattr(config, "model_type", "")
    attention = getattr(config, "_attn_implementation", "")
    if attention not in {"sdpa", "eager"} or _rope_types(config) & _LENGTH_DEPENDENT_ROPE:
        return None
    if getattr(config, "use_bidirectional_attention", None):
        return None
    window = getattr(config, "sliding_window", None)
    if kind in _ONE_MASK:
        windows = {"": window if kind in {"mistral", "phi3"} else None}
    elif kind in _MASK_PER_LAYER_TYPE:
        windows = {
            name: window if name == "sliding_attention" else None
            for name in sorted(set(config.layer_types))
        }
        if not set(windows) <= {"full_attention", "sliding_attention"}:
            return None
    else:
        return None
    return TreeAttention(windows, additive=attention == "eager")


def _rope_types(config: Any) -> set[str]:
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return {str(entry.get("rope_type", "default")) for entry in [parameters, *nested]}


def attention_masks(
    batch: PackedBatch, attention: TreeAttention, dtype: torch.dtype
) -> Tensor | dict[str, Tensor]:
    """The `attention_mask` argument (R, 1, T, T) that makes a model attend along the tree."""
    width = batch.input_ids_RT.shape[1]
    index_T = torch.arange(width, device=batch.input_ids_RT.device)
    end_RK = batch.subtree_end_RT
    visible_RQK = (index_T[:, None] >= index_T[None, :])[None] & (
        index_T[None, :, None] < end_RK[:, None, :]
    )
    # Distances are between positions in the sequence, not between places in the row.
    position_RT = batch.position_ids_RT
    distance_RQK = position_RT[:, :, None] - position_RT[:, None, :]
    masks = {}
    for name, window in attention.windows.items():
        mask = visible_RQK if window is None else visible_RQK & (distance_RQK < window)
        masks[name] = _as_expected(mask[:, None], attention.additive, dtype)
    return masks.get("", masks)


def _as_expected(visible: Tensor, additive: bool, dtype: torch.dtype) -> Tensor:
    if not additive:
        return visible
    zero = torch.zeros((), dtype=dtype, device=visible.device)
    return zero.masked_fill(~visible, torch.finfo(dtype).min)
