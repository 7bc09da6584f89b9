"""Attention masks along a tree: each token sees its ancestors, within its layer's window.

Legend: R rows, Q and K (queries and keys) tokens of a row, T tokens of a row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evalkit.scoring.layout import PackedBatch


def tree_masks(
    batch: PackedBatch,
    windows: dict[str, int | None],
    kernel: str,
    dtype: torch.dtype,
    above: int = 0,
) -> Any:
    """The `attention_mask` argument that makes a model attend along the tree.

    windows: as in `Architecture`; one mask comes back for "", else one for each layer type.
    above: tokens, kept in a cache, that all rows go on from.
    """
    if kernel == "flex_attention":
        masks = {name: _block_mask(batch, window, above) for name, window in windows.items()}
    else:
        masks = _dense_masks(batch, windows, dtype if kernel == "eager" else None, above)
    return masks.get("", masks)


def _dense_masks(
    batch: PackedBatch, windows: dict[str, int | None], additive: torch.dtype | None, above: int
) -> dict[str, Any]:
    """Masks (R, 1, Q, K): boolean for sdpa, or of dtype `additive` for eager, which adds them."""
    width = batch.input_ids_RT.shape[1]
    index_T = torch.arange(width, device=batch.input_ids_RT.device)
    visible_RQK = (index_T[:, None] >= index_T[None, :])[None] & (
        index_T[None, :, None] < batch.subtree_end_RT[:, None, :]
    )
    visible_RQK = torch.nn.functional.pad(visible_RQK, (above, 0), value=True)
    # Distances are between positions in the sequence, not between places in the row.
    position_RQ = batch.position_ids_RT
    position_RK = _positions_of_keys(position_RQ, above)
    masks: dict[str, Any] = {}
    for name, window in windows.items():
        mask_RQK = visible_RQK
        if window is not None:
            mask_RQK = mask_RQK & (position_RQ[:, :, None] - position_RK[:, None, :] < window)
        masks[name] = _as_expected(mask_RQK[:, None], additive)
    return masks


def _positions_of_keys(position_RT: Tensor, above: int) -> Tensor:
    above_RP = torch.arange(above, device=position_RT.device).expand(len(position_RT), -1)
    return torch.cat([above_RP, position_RT], dim=1)


def _as_expected(visible: Tensor, additive: torch.dtype | None) -> Tensor:
    if additive is None:
        return visible
    zero = torch.zeros((), dtype=additive, device=visible.device)
    return zero.masked_fill(~visible, torch.finfo(additive).min)


def _block_mask(batch: PackedBatch, window: int | None, above: int) -> Any:
    """The same for flex_attention, which skips blocks of 128 x 128 that nobody sees."""
    from torch.nn.attention.flex_attention import create_block_mask

    rows, width = batch.input_ids_RT.shape
    end_RK = torch.nn.functional.pad(batch.subtree_end_RT, (above, 0), value=width)
    position_RQ = batch.position_ids_RT
    position_RK = _positions_of_keys(position_RQ, above)

    def visible(r: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        along = (q >= k - above) & (q < end_RK[r, k])
        if window is None:
            return along
        return along & (position_RQ[r, q] - position_RK[r, k] < window)

    device = batch.input_ids_RT.device
    # Uncompiled on a CPU, where compiling takes longer than any mask.
    return create_block_mask(
        visible, rows, None, width, above + width, device=device, _compile=device.type != "cpu"
    )
