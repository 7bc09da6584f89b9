"""Runs a model's layers over the rows of a batch, as its layout asks.

Source: what transformers 5.17 does with 4D masks, BlockMasks, restarting positions and caches
(masking_utils.py, cache_utils.py), each tested against single sequences.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from evalkit.errors import ScoreError
from evalkit.scoring.architectures import Architecture, attention_kernel
from evalkit.scoring.branching import BRANCHING, calls_of
from evalkit.scoring.layout import Branches, PackedBatch
from evalkit.scoring.masks import tree_masks
from evalkit.scoring.stems import Stem


def scored_hidden(
    model: Any, architecture: Architecture, batch: PackedBatch, stem: Stem | None = None
) -> Tensor:
    """Hidden states (U, H) at the scored positions, of a model whose architecture is known.

    stem: what all rows of a batch of trees go on from.
    """
    if batch.layout == "cache":
        return _along_cache(model, batch)
    output = model.base_model(
        input_ids=batch.input_ids_RT,
        position_ids=batch.position_ids_RT if batch.forked else None,
        **_who_sees_whom(model, architecture, batch, stem),
    )
    return _flat(output).index_select(0, batch.position_U)


def scored_logits(model: Any, batch: PackedBatch) -> Tensor:
    """Logits (U, V) at the scored positions of single sequences, of any model."""
    mask_RT = _mask_of_lengths(batch.length_R, batch.input_ids_RT.shape[1])
    output = model(input_ids=batch.input_ids_RT, attention_mask=mask_RT, use_cache=False)
    logits: Tensor = output.logits
    return logits.flatten(0, 1).index_select(0, batch.position_U)


def scored_logits_alone(model: Any, batch: PackedBatch) -> Tensor:
    """The same, of models in which the length of the input decides: whole sequences, one by one.

    (With `dynamic` rotary embeddings even the sequences before decide: transformers keeps the
    frequencies of the longest until a short one comes. Nothing is exact for those.)
    """
    width = batch.input_ids_RT.shape[1]
    row_U = batch.position_U.div(width, rounding_mode="floor")
    parts = []
    for row, length in enumerate(batch.length_R.tolist()):
        last_token = batch.target_S[row_U[batch.head_S] == row][-1:]
        ids_T = torch.cat([batch.input_ids_RT[row, :length], last_token])
        logits_TV = model(input_ids=ids_T[None], use_cache=False).logits[0]
        parts.append(logits_TV[batch.position_U[row_U == row] - row * width])
    return torch.cat(parts)


def _who_sees_whom(
    model: Any, architecture: Architecture, batch: PackedBatch, stem: Stem | None
) -> dict[str, Any]:
    """The arguments that say so to a model."""
    alone = {"use_cache": False}  # a cache would switch off what the model knows of packed rows
    if batch.layout == "packed" or not batch.forked:
        # The model's own: told by positions where sequences begin, or plainly causal, in which
        # padding on the right is seen by nothing that is scored.
        return {"attention_mask": None, **alone}
    kernel, windows = attention_kernel(model), architecture.windows
    if kernel == BRANCHING and not _any_window_closes(windows, batch):
        calls = calls_of(batch)
        if calls is not None:
            # Any tensor of four dimensions keeps the model from making a mask.
            unread = batch.subtree_end_RT[:, None, None]
            return {
                "attention_mask": _for_each(windows, unread), "calls": calls, "stem": stem, **alone
            }  # fmt: skip
    above = 0 if stem is None else stem.length
    masks = {"attention_mask": tree_masks(batch, windows, kernel, model.dtype, above)}
    if stem is None:
        return {**masks, **alone}
    return {**masks, "past_key_values": stem.repeated(len(batch.length_R)), "use_cache": True}


def _any_window_closes(windows: dict[str, int | None], batch: PackedBatch) -> bool:
    """Whether a sequence is so long that a layer does not see its first token from the last."""
    longest = int(batch.position_ids_RT.max()) + 1
    return any(window is not None and window < longest for window in windows.values())


def _for_each(windows: dict[str, int | None], mask: Tensor) -> Any:
    return mask if "" in windows else dict.fromkeys(windows, mask)


def _along_cache(model: Any, batch: PackedBatch) -> Tensor:
    if model.is_gradient_checkpointing and model.training:
        raise ScoreError(
            "gradient checkpointing drops the cache of keys and values",
            "use another layout, or no gradient checkpointing",
        )
    # Made without the config, it keeps all keys of windowed layers; the masks know the windows.
    cache = DynamicCache()
    prompts_RT = _mask_of_lengths(batch.length_R, batch.input_ids_RT.shape[1]).flip(1)
    output = model.base_model(
        input_ids=batch.input_ids_RT,
        position_ids=batch.position_ids_RT,
        attention_mask=prompts_RT,
        past_key_values=cache,
        use_cache=True,
    )
    hidden = _flat(output)
    if batch.branches is not None:
        hidden = torch.cat([hidden, _branches(model, batch.branches, prompts_RT, cache)])
    return hidden.index_select(0, batch.position_U)


def _branches(model: Any, branches: Branches, prompts_RT: Tensor, cache: DynamicCache) -> Tensor:
    cache.batch_select_indices(branches.prompt_B)
    own_BT = _mask_of_lengths(branches.length_B, branches.input_ids_BT.shape[1])
    output = model.base_model(
        input_ids=branches.input_ids_BT,
        position_ids=branches.position_ids_BT,
        attention_mask=torch.cat([prompts_RT[branches.prompt_B], own_BT], dim=1),
        past_key_values=cache,
        use_cache=True,
    )
    return _flat(output)


def _flat(output: Any) -> Tensor:
    hidden: Tensor = output.last_hidden_state
    return hidden.flatten(0, 1)


def _mask_of_lengths(length_R: Tensor, width: int) -> Tensor:
    index_T = torch.arange(width, device=length_R.device)
    return (index_T[None] < length_R[:, None]).long()
