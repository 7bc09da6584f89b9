"""The sampling loop over a transformers model: prefill once, then token by token for all rows.

Every row draws its own random numbers, so that a response depends on its request and, through
rounding alone, on the fixed batch it is computed in. Suffixes: R rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from evalkit.errors import RecipeError
from evalkit.roles import Sampling

# Finished rows are dropped from the batch once they make up this part of it.
COMPACT_AT = 0.25


@dataclass
class Row:
    """One response being generated."""

    draw: random.Random
    is_stopped: Callable[[list[int]], bool]
    token_ids: list[int] = field(default_factory=list)
    finished: bool = False


def decode_rows(
    model: Any,
    prompts: Sequence[tuple[int, ...]],
    rows_of: Sequence[Sequence[Row]],
    sampling: Sampling,
    end_ids: frozenset[int],
) -> None:
    """Fills the rows of every prompt with sampled tokens, the closing one included.

    A row ends at a token of `end_ids`, where its own `is_stopped` says so, or after
    `sampling.max_new_tokens`.
    """
    state = _Decoder(model, prompts, rows_of)
    with torch.inference_mode():
        logits_RV = state.prefill()
        for step in range(sampling.max_new_tokens):
            chosen = _choose(logits_RV, state.rows, sampling)
            for row, token_id in zip(state.rows, chosen, strict=True):
                if not row.finished:
                    row.token_ids.append(token_id)
                    row.finished = token_id in end_ids or row.is_stopped(row.token_ids)
            alive = [number for number, row in enumerate(state.rows) if not row.finished]
            if not alive or step + 1 == sampling.max_new_tokens:
                return
            if len(alive) <= (1 - COMPACT_AT) * len(state.rows):
                state.keep(alive)
                chosen = [chosen[number] for number in alive]
            logits_RV = state.advance(chosen)


class _Decoder:
    """Rows with their cache and masks, one token further at each call."""

    def __init__(
        self, model: Any, prompts: Sequence[tuple[int, ...]], rows_of: Sequence[Sequence[Row]]
    ) -> None:
        self.rows = [row for rows in rows_of for row in rows]
        self._model, self._prompts = model, prompts
        self._repeats = [number for number, rows in enumerate(rows_of) for _ in rows]
        parameters = inspect.signature(model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        self._positioned = "position_ids" in parameters
        self._cache: Any = None
        self._padded = True
        self._mask_RT = torch.empty(0)
        self._position_R = torch.empty(0)

    def prefill(self) -> Tensor:
        """Logits of every row's first token; a prompt is computed once for all its rows."""
        from transformers import DynamicCache

        device = self._model.device
        width = max(map(len, self._prompts))
        padding = [width - len(prompt) for prompt in self._prompts]
        ids = [[0] * pad + list(p) for pad, p in zip(padding, self._prompts, strict=True)]
        mask = [[0] * pad + [1] * (width - pad) for pad in padding]
        ids_PT, mask_PT = torch.tensor(ids, device=device), torch.tensor(mask, device=device)
        positions_PT = (mask_PT.cumsum(-1) - 1).clamp(min=0)
        self._padded = any(padding)
        logits_PV = self._forward(ids_PT, mask_PT, positions_PT)
        repeats_R = torch.tensor(self._repeats, device=device)
        if not isinstance(self._cache, DynamicCache):
            raise RecipeError(
                f"the transformers engine cannot generate with a {type(self._model).__name__}:"
                " it keeps no key-value cache whose rows can be picked",
                "use the vllm engine for this model",
            )
        if len(self._repeats) != len(self._prompts):
            self._cache.batch_select_indices(repeats_R)
        self._mask_RT = mask_PT[repeats_R]
        self._position_R = self._mask_RT.sum(-1)
        return logits_PV[repeats_R]

    def advance(self, token_ids: Sequence[int]) -> Tensor:
        """Logits of the next token of every row, after `token_ids`."""
        ids_R1 = torch.tensor(token_ids, device=self._model.device)[:, None]
        self._mask_RT = torch.cat([self._mask_RT, torch.ones_like(ids_R1)], dim=1)
        logits_RV = self._forward(ids_R1, self._mask_RT, self._position_R[:, None])
        self._position_R = self._position_R + 1
        return logits_RV

    def keep(self, numbers: Sequence[int]) -> None:
        """Drops all rows but these."""
        chosen = torch.tensor(numbers, device=self._model.device)
        self._cache.batch_select_indices(chosen)
        self._mask_RT, self._position_R = self._mask_RT[chosen], self._position_R[chosen]
        self.rows = [self.rows[number] for number in numbers]

    def _forward(self, ids_RT: Tensor, mask_RT: Tensor, positions_RT: Tensor) -> Tensor:
        placed = {"position_ids": positions_RT} if self._positioned else {}
        output = self._model(
            input_ids=ids_RT,
            # Without padding no mask is needed, and attention is faster without one.
            attention_mask=mask_RT if self._padded else None,
            past_key_values=self._cache,
            use_cache=True,
            **placed,
            **self._last_only,
        )
        self._cache = output.past_key_values
        logits_RV: Tensor = output.logits[:, -1].float()
        return logits_RV


def _choose(logits_RV: Tensor, rows: Sequence[Row], sampling: Sampling) -> list[int]:
    if sampling.temperature == 0:
        greedy: list[int] = logits_RV.argmax(-1).tolist()
        return greedy
    uniform = [row.draw.random() for row in rows]
    uniform_R1 = torch.tensor(uniform, dtype=torch.float64, device=logits_RV.device)[:, None]
    # In float64: over a large vocabulary a float32 sum is coarser than the uniform numbers.
    probability_RV = (logits_RV.double() / sampling.temperature).softmax(-1)
    return _inverse_cdf(probability_RV, uniform_R1, sampling.top_p)


def _inverse_cdf(probability_RV: Tensor, uniform_R1: Tensor, top_p: float) -> list[int]:
    """The token at which each row's cumulated probability passes its uniform number."""
    order_RV = None
    if top_p < 1:
        probability_RV, order_RV = probability_RV.sort(dim=-1, descending=True, stable=True)
        before_RV = probability_RV.cumsum(-1) - probability_RV
        probability_RV = probability_RV.masked_fill(before_RV >= top_p, 0.0)
    cdf_RV = probability_RV.cumsum(-1)
    place_R1 = torch.searchsorted(cdf_RV, uniform_R1 * cdf_RV[:, -1:], right=True)
    place_R1 = place_R1.clamp(max=cdf_RV.shape[1] - 1)
    if order_RV is not None:
        place_R1 = order_RV.gather(1, place_R1)
    result: list[int] = place_R1[:, 0].tolist()
    return result
