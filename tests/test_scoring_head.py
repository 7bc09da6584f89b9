"""The chunked head: equal to an ordinary log-softmax, within memory, under foreign hooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from scoring_parts import gradient, random_requests
from tiny_models import tiny_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from evalkit.scoring import ScoringModel, fill_rows, head, lay_out, linear_logps
from evalkit.scoring.head import Targets, TokenScores, score_tokens

POSITIONS, VOCABULARY, HIDDEN, SCORED = 40, 61, 16, 55


class Wrapped(nn.Linear):
    """A head that does more than multiply, as far as anyone can tell: it must be called."""


def scored(
    linear: nn.Linear, cap: float | None = None, dtype: torch.dtype = torch.float32
) -> tuple[TokenScores, list[torch.Tensor]]:
    """Scores of random tokens, and gradients of hidden states and parameters."""
    torch.manual_seed(1)
    hidden = torch.randn(POSITIONS, HIDDEN, requires_grad=True)
    targets = Targets(
        torch.randint(0, POSITIONS, (SCORED,)).sort()[0], torch.randint(0, VOCABULARY, (SCORED,))
    )
    weights_S = torch.randn(SCORED)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        scores = score_tokens(linear, hidden, targets, cap, watch=True)
    (scores.logp_S * weights_S).sum().backward()
    return scores, [hidden.grad, *(p.grad for p in linear.parameters() if p.requires_grad)]


def heads(bias: bool = False) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    plain, wrapped = nn.Linear(HIDDEN, VOCABULARY, bias), Wrapped(HIDDEN, VOCABULARY, bias)
    wrapped.load_state_dict(plain.state_dict())
    return plain, wrapped


@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("kept", [1, 1 << 25])
def test_own_backward_pass_equals_that_of_autograd(
    cap: float | None, bias: bool, chunk: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, wrapped = heads(bias)
    expected, gradients = scored(wrapped, cap)
    monkeypatch.setitem(linear_logps.CHUNK_LOGITS, "cpu", VOCABULARY * chunk)
    monkeypatch.setattr(head, "KEPT_LOGITS", kept)
    for linear in (plain, wrapped):
        linear.zero_grad()
        scores, found = scored(linear, cap)
        assert torch.allclose(scores.logp_S, expected.logp_S, atol=1e-5)
        assert torch.allclose(scores.entropy_S, expected.entropy_S, atol=1e-5)
        assert scores.greedy_S.equal(expected.greedy_S)
        for one, other in zip(found, gradients, strict=True):
            assert (one - other).norm() <= 1e-5 * other.norm()


def test_products_in_bfloat16_give_gradients_in_float32() -> None:
    plain, wrapped = heads()
    exact, _ = scored(heads()[0])
    (scores, found), (expected, gradients) = (
        scored(linear, dtype=torch.bfloat16) for linear in (plain, wrapped)
    )
    assert scores.logp_S.dtype == torch.float32
    assert torch.allclose(scores.logp_S, expected.logp_S, atol=1e-5)
    assert 1e-5 < (scores.logp_S - exact.logp_S).abs().max() < 0.1
    for one, other in zip(found, gradients, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() <= 0.02 * other.norm()


def test_a_frozen_head_gets_no_gradient() -> None:
    plain, _ = heads()
    plain.requires_grad_(False)
    _, found = scored(plain)
    assert len(found) == 1
    assert plain.weight.grad is None


def test_what_was_kept_is_computed_again_for_a_second_backward_pass() -> None:
    model, requests = tiny_model("llama"), random_requests(2)
    logps = ScoringModel(model)(lay_out(requests, fill_rows(requests))).logp_N
    logps.sum().backward(retain_graph=True)
    once = gradient(model)
    logps.sum().backward()
    assert torch.allclose(gradient(model), once, atol=1e-4)


class LargestTensor(TorchDispatchMode):
    """Notes the most entries of any tensor that an operation makes."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else [result]:
            if isinstance(one, torch.Tensor):
                self.entries = max(self.entries, one.numel())
        return result


@pytest.mark.parametrize("kind", [0, 1])
def test_all_logits_never_exist(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = heads()[kind]
    monkeypatch.setattr(head, "KEPT_LOGITS", 1)
    limit = VOCABULARY * max(5, HIDDEN)  # a chunk of logits, or the weights
    for chunk, holds in ((5, True), (POSITIONS, False)):
        monkeypatch.setitem(linear_logps.CHUNK_LOGITS, "cpu", VOCABULARY * chunk)
        with LargestTensor() as largest:
            scored(linear)
        assert (largest.entries <= limit) == holds


@contextmanager
def partitioned(linear: nn.Linear) -> Iterator[list[str]]:
    """Weights that exist only while the head's hooks say so, as under ZeRO-3; notes the moments.

    Source: deepspeed/runtime/zero/parameter_offload.py (hooks) and its LinearFunctionForZeroStage3.
    """
    whole, nothing = linear.weight.data, torch.empty(0)
    moments: list[str] = []

    def gather(moment: str) -> None:
        moments.append(moment)
        linear.weight.data = whole

    def release() -> None:
        linear.weight.data = nothing

    def after(_module: nn.Module, _inputs: Any, output: Any) -> None:
        release()
        if output.requires_grad:
            output.register_hook(lambda _gradient: gather("backward"))

    handles = [
        linear.register_forward_pre_hook(lambda _module, _inputs: gather("forward")),
        linear.register_forward_hook(after),
    ]
    release()
    yield moments
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("kept", [1, 1 << 25])
def test_weights_that_only_hooks_gather(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "KEPT_LOGITS", kept)
    monkeypatch.setitem(linear_logps.CHUNK_LOGITS, "cpu", VOCABULARY * 7)
    expected, gradients = scored(heads()[0])
    linear = heads()[0]
    with partitioned(linear) as moments:
        scores, found = scored(linear)
    assert moments == ["forward", "backward"]  # once each, however many chunks there are
    assert scores.logp_S.equal(expected.logp_S)
    assert all(one.equal(other) for one, other in zip(found, gradients, strict=True))
    assert "forward" not in vars(linear)


def test_of_equal_logits_the_first_is_greedy() -> None:
    """As `argmax` has it, which the heads that are called use."""
    head = torch.nn.Linear(4, 6, bias=False)
    with torch.no_grad():
        head.weight[3] = head.weight[1]
    hidden_UH = 10 * head.weight[1].detach().repeat(2, 1)
    targets = Targets(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 3, 3, 0]))
    assert score_tokens(head, hidden_UH, targets, None, False).greedy_S.tolist() == [
        True, False, False, False,
    ]  # fmt: skip
