"""Requests to score, and what they should score: one plain forward pass per sequence."""

import random
from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from transformers import masking_utils
from transformers.integrations import flex_attention as integration

from evalkit.roles import ScoringRequest


def random_requests(seed: int = 0, n: int = 6) -> list[ScoringRequest]:
    """Requests with six continuations each, of prompts that begin alike."""
    draw = random.Random(seed)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 61) for _ in range(length))

    header = tokens(4)
    requests = []
    for _ in range(n):
        prompt = header + tokens(draw.randint(1, 20))
        first = tokens(draw.randint(2, 9))
        others = [tokens(draw.randint(1, 9)) for _ in range(2)]
        # A duplicate, a prefix of another, and a common beginning are all allowed.
        requests.append(
            ScoringRequest(prompt, (first, *others, first, first[:1], first[:2] + tokens(3)))
        )
    return requests


def token_distributions(
    model: torch.nn.Module, requests: list[ScoringRequest]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of each continuation, by the model's ordinary forward: log-probabilities (T, V), its ids."""
    found = []
    for prompt, continuations in requests:
        for continuation in continuations:
            ids = torch.tensor([[*prompt, *continuation]])
            logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
            found.append((logits.log_softmax(-1), torch.tensor(continuation)))
    return found


def single_logps(model: torch.nn.Module, requests: list[ScoringRequest]) -> torch.Tensor:
    """One sequence at a time through the model's ordinary forward."""
    return torch.stack(
        [logp.gather(1, ids[:, None]).sum() for logp, ids in token_distributions(model, requests)]
    )


def gradient(model: torch.nn.Module) -> torch.Tensor:
    """All gradients in one vector; they are cleared."""
    flat = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    return flat


def uncompiled_flex_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets FlexAttention run as it is written, without a compiler; it takes the same masks."""

    def uncompiled(query: Any, key: Any, value: Any, training: bool = False, **others: Any) -> Any:
        return flex_attention(query, key, value, **others)

    def uncompiled_mask(*arguments: Any, **options: Any) -> Any:
        return create_block_mask(*arguments, **(options | {"_compile": False}))

    monkeypatch.setattr(integration, "compile_friendly_flex_attention", uncompiled)
    monkeypatch.setattr(masking_utils, "create_block_mask", uncompiled_mask)
