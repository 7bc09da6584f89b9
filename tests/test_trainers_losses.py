"""Losses and gradients equal the golden numbers in float64, through the methods themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evalkit.roles import LogpBatch, Method
from evalkit.trainers.dpo import DirectPreferenceOptimisation as Dpo
from evalkit.trainers.losses import (
    hinge_pair_loss,
    logistic_pair_loss,
    mean_by_example,
    win_probability_error,
    win_probability_pair_loss,
)
from evalkit.trainers.sft import SupervisedFineTuning as Sft
from evalkit.trainers.spin import SelfPlayFineTuning as Spin
from evalkit.trainers.sppo import SelfPlayPreferenceOptimisation as Sppo

CASES = [
    "sppo_pair_beta0.001",
    "sppo_pair_beta0.1",
    "sppo_single_beta0.001",
    "sppo_pair_with_hard_probs_beta0.001",
    "sppo_hard_trl_beta0.001",
    "sppo_hard_trl_beta0.1",
    "spin_sigmoid_beta0.1",
    "spin_sigmoid_beta5.0",
    "spin_hinge_beta0.1",
    "spin_hinge_beta5.0",
    "sppo_pair_at_init_from_k5",
]
SPIN_NAMES = {"chosen": "real", "rejected": "generated", "ref": "opponent"}


def case_named(shared: Path, name: str) -> dict[str, Any]:
    cases = json.loads((shared / "golden" / "loss.json").read_text("utf-8"))["cases"]
    found: dict[str, Any] = next(case for case in cases if case["name"] == name)
    return found


def pair_batch(chosen: Any, rejected: Any, ref_c: Any, ref_r: Any, targets: Any) -> LogpBatch:
    def flat(a: Any, b: Any) -> torch.Tensor:
        return torch.tensor([a, b], dtype=torch.float64).T.flatten()

    policy_N = flat(chosen, rejected).requires_grad_()
    example_N = torch.arange(len(chosen)).repeat_interleave(2)
    return LogpBatch(
        policy_N, flat(ref_c, ref_r), flat(*targets), example_N, torch.ones_like(example_N)
    )


def golden_batch(case: dict[str, Any]) -> tuple[Method, LogpBatch, float]:
    """The method, its batch, and what the golden loss is a multiple of."""
    inputs, params = case["inputs"], case["params"]
    spin = case["name"].startswith("spin")
    names = SPIN_NAMES if spin else {name: name for name in SPIN_NAMES}
    logps = [
        inputs[f"{who}_{names[side]}_logps"]
        for who in ("policy", names["ref"])
        for side in ("chosen", "rejected")
    ]
    size = len(logps[0])
    ones, zeros = [1.0] * size, [0.0] * size
    if spin:
        method: Method = Spin(Spin.Options(beta=params["beta"], loss=params["loss_type"]))
        return method, pair_batch(*logps, (ones, zeros)), 1.0
    form = {"sppo": "pair", "sppo_single": "single", "sppo_hard": "hard"}[params["loss_type"]]
    targets = (ones, zeros)
    if form == "single":
        targets = (inputs["chosen_probs"], [1 - q for q in inputs["chosen_probs"]])
    elif form == "pair":
        targets = (inputs["chosen_probs_win"], inputs["chosen_probs_lose"])
    method = Sppo(Sppo.Options(form=form, eta=1 / params["beta"]))
    # TRL sums the errors of winner and loser where the released code halves them.
    return method, pair_batch(*logps, targets), 2.0 if "trl" in case["name"] else 1.0


@pytest.mark.parametrize("name", CASES)
def test_golden_loss_and_gradient(shared: Path, name: str) -> None:
    case = case_named(shared, name)
    method, batch, factor = golden_batch(case)
    loss = factor * method.loss(batch).loss
    loss.backward()
    expected = case["expected"]
    gradients = [
        value
        for key, value in expected.items()
        if key.startswith("grad_policy_") and key.endswith("_logps")
    ]
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected["loss_mean"], rel=1e-12, abs=1e-9)
    assert batch.policy_N.grad is not None
    found = batch.policy_N.grad.view(-1, 2)
    wanted = torch.tensor(gradients, dtype=torch.float64).T
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_golden_loss_per_pair(shared: Path, name: str) -> None:
    case = case_named(shared, name)
    method, batch, factor = golden_batch(case)
    assert batch.reference_N is not None
    delta = (batch.policy_N - batch.reference_N).detach().view(-1, 2)
    target = batch.targets_N.view(-1, 2)
    if isinstance(method, Spin):
        function = {"sigmoid": logistic_pair_loss, "hinge": hinge_pair_loss}[method.options.loss]
        losses = function(delta[:, 0], delta[:, 1], method.options.beta)
    else:
        losses = win_probability_pair_loss(*delta.T, *target.T, method.options.eta)
    wanted = torch.tensor(case["expected"]["per_example_loss"], dtype=torch.float64)
    assert torch.allclose(factor * losses, wanted, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("divide", [False, True])
def test_golden_pointwise(shared: Path, divide: bool) -> None:
    case = case_named(shared, "sppo_pointwise_k5")
    inputs, expected = case["inputs"], case["expected"]
    double = {"dtype": torch.float64}
    policy_N = torch.tensor(inputs["policy_logps"], requires_grad=True, **double)
    batch = LogpBatch(
        policy_N,
        torch.tensor(inputs["ref_logps"], **double),
        torch.tensor(inputs["win_vs_policy"], **double),
        torch.zeros(5, dtype=torch.long),
        torch.ones(5, dtype=torch.long),
    )
    method = Sppo(Sppo.Options(form="pointwise", eta=1000, divide_by_eta=divide))
    loss, metrics = method.loss(batch)
    loss.backward()
    factor = 1000 if divide else 1
    assert loss.item() * factor == pytest.approx(expected["loss_mean"], abs=1e-9)
    assert metrics["loss_over_eta2"].item() == pytest.approx(expected["loss_mean"] / 1e6)
    gradient = torch.tensor(expected["grad_policy_logps"], **double)
    assert policy_N.grad is not None
    assert torch.allclose(policy_N.grad * factor, gradient, rtol=0, atol=1e-9)


def test_golden_rewards(shared: Path) -> None:
    case = case_named(shared, "spin_sigmoid_beta0.1")
    method, batch, _ = golden_batch(case)
    metrics = method.loss(batch).metrics
    expected = case["expected"]
    assert metrics["accuracy"].item() == expected["reward_accuracy"]
    assert 0.1 * metrics["margin_nats"].item() == pytest.approx(expected["reward_margin_mean"])


def test_dpo_is_spin_with_other_data(shared: Path) -> None:
    _, batch, _ = golden_batch(case_named(shared, "spin_sigmoid_beta0.1"))
    method = Dpo(Dpo.Options(beta=0.1))
    assert method.loss(batch).loss.item() == pytest.approx(0.7502663415323968, abs=1e-9)


def test_sft_is_the_mean_over_tokens() -> None:
    n_tokens = torch.tensor([3, 2])
    batch = LogpBatch(torch.tensor([-6.0, -2.0]), None, torch.ones(2), torch.arange(2), n_tokens)
    assert Sft(Sft.Options()).loss(batch).loss.item() == pytest.approx(8 / 5)


numbers = st.floats(-50, 50)


@given(numbers, st.floats(0, 1), st.floats(0.1, 1000))
def test_squared_error_is_least_at_its_target(delta: float, p: float, eta: float) -> None:
    target = torch.tensor(eta * (p - 0.5), dtype=torch.float64)
    prob = torch.tensor(p, dtype=torch.float64)
    assert win_probability_error(target, prob, eta).item() == pytest.approx(0, abs=1e-9)
    assert win_probability_error(target + delta, prob, eta).item() >= 0


@given(numbers, numbers, st.floats(0, 1), st.floats(0, 1))
def test_pair_loss_is_symmetric_under_swapping_roles(
    a: float, b: float, p: float, q: float
) -> None:
    values = [torch.tensor(v, dtype=torch.float64) for v in (a, b, p, q)]
    swapped = [values[1], values[0], values[3], values[2]]
    one = win_probability_pair_loss(*values, 100.0)
    assert one.item() == pytest.approx(win_probability_pair_loss(*swapped, 100.0).item())


@given(numbers, numbers, st.floats(0.01, 5))
def test_logistic_loss_of_swapped_pairs_sums_to_probability_one(
    a: float, b: float, beta: float
) -> None:
    chosen, other = torch.tensor(a).double(), torch.tensor(b).double()
    forward = torch.exp(-logistic_pair_loss(chosen, other, beta))
    backward = torch.exp(-logistic_pair_loss(other, chosen, beta))
    assert (forward + backward).item() == pytest.approx(1)


def test_mean_by_example_weighs_prompts_alike() -> None:
    values = torch.tensor([1.0, 3.0, 10.0])
    assert mean_by_example(values, torch.tensor([0, 0, 1])).tolist() == [2.0, 10.0]
