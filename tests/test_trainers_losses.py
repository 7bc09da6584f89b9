"""Losses and gradients equal the golden numbers in float64, through the methods themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evalkit.preferences import PreferenceOptions, pair_probabilities, win_probabilities
from evalkit.records import Message, Prompt, PromptGroup, Response, TrainingExample
from evalkit.roles import LogpBatch, Method, Statistic
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


def value(statistic: Statistic) -> float:
    found = statistic.value(statistic.sums().tolist())
    assert found is not None
    return found


def case_named(shared: Path, name: str) -> dict[str, Any]:
    cases = json.loads((shared / "golden" / "loss.json").read_text("utf-8"))["cases"]
    found: dict[str, Any] = next(case for case in cases if case["name"] == name)
    return found


def pair_batch(chosen: Any, rejected: Any, ref_c: Any, ref_r: Any, targets: Any) -> LogpBatch:
    def flat(a: Any, b: Any) -> torch.Tensor:
        return torch.tensor([a, b], dtype=torch.float64).T.flatten()

    policy_N = flat(chosen, rejected).requires_grad_()
    example_N = torch.arange(len(chosen)).repeat_interleave(2)
    ones_N = torch.ones_like(example_N)
    return LogpBatch(policy_N, flat(ref_c, ref_r), flat(*targets), example_N, ones_N, ones_N.bool())


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
        torch.ones(5, dtype=torch.bool),
    )
    method = Sppo(Sppo.Options(form="pointwise", eta=1000, divide_by_eta=divide))
    loss, metrics = method.loss(batch)
    loss.backward()
    factor = 1000 if divide else 1
    assert loss.item() * factor == pytest.approx(expected["loss_mean"], abs=1e-9)
    assert value(metrics["loss_over_eta2"]) == pytest.approx(expected["loss_mean"] / 1e6)
    gradient = torch.tensor(expected["grad_policy_logps"], **double)
    assert policy_N.grad is not None
    assert torch.allclose(policy_N.grad * factor, gradient, rtol=0, atol=1e-9)


def test_golden_rewards(shared: Path) -> None:
    case = case_named(shared, "spin_sigmoid_beta0.1")
    method, batch, _ = golden_batch(case)
    metrics = method.loss(batch).metrics
    expected = case["expected"]
    assert value(metrics["accuracy"]) == expected["reward_accuracy"]
    assert value(metrics["reward_margin"]) == pytest.approx(expected["reward_margin_mean"])
    for side, name in (("chosen", "real"), ("rejected", "generated")):
        rewards = expected[f"rewards_{name}"]
        mean = sum(rewards) / len(rewards)
        assert value(metrics[f"reward_{side}"]) == pytest.approx(mean, abs=1e-12)
        assert value(metrics[f"delta_{side}_nats"]) == pytest.approx(10 * mean, abs=1e-12)


def test_dpo_is_spin_with_other_data(shared: Path) -> None:
    _, batch, _ = golden_batch(case_named(shared, "spin_sigmoid_beta0.1"))
    method = Dpo(Dpo.Options(beta=0.1))
    assert method.loss(batch).loss.item() == pytest.approx(0.7502663415323968, abs=1e-9)


# --- the worked example with K = 5, from a judge's logits to the loss -------------------------

ESTIMATORS = {
    "pairrm_k5_released_pipeline": PreferenceOptions(aggregation="score_difference"),
    "pairrm_k5_paper_estimator": PreferenceOptions(),
}


def judged_group(logits: Any, options: PreferenceOptions) -> PromptGroup:
    """Five samples with their judge's logits, as a judging step leaves them."""
    table = tuple(tuple(row) for row in logits)
    return PromptGroup(
        Prompt("p", (Message("user", "?"),)),
        (1,),
        tuple(Response("abcde"[i], (10 + i, 2), "stop") for i in range(len(table))),
        table,
        pair_probabilities(table, options),
        win_probabilities(table, options),
    )


def batch_of(example: TrainingExample, policy: list[float], reference: list[float]) -> LogpBatch:
    double = {"dtype": torch.float64}
    example_N = torch.zeros(len(example.continuations), dtype=torch.long)
    return LogpBatch(
        torch.tensor(policy, requires_grad=True, **double),
        torch.tensor(reference, **double),
        torch.tensor(example.targets, **double),
        example_N,
        torch.tensor([len(continuation) for continuation in example.continuations]),
        torch.ones(len(example.continuations), dtype=torch.bool),
    )


@pytest.mark.parametrize("name", ESTIMATORS)
def test_golden_probabilities_from_logits(shared: Path, name: str) -> None:
    case = case_named(shared, name)
    group = judged_group(case["inputs"]["pair_logits"], ESTIMATORS[name])
    expected = case["expected"]
    # The released pipeline's scores are float32.
    tolerance = 1e-6 if "released" in name else 1e-9
    wins = expected.get("win_vs_policy") or expected["win_vs_policy_including_self"]
    assert group.win_probs == pytest.approx(wins, abs=tolerance)
    assert group.pair_probs is not None
    for row, wanted in zip(group.pair_probs, expected["probability"], strict=True):
        assert row == pytest.approx(wanted, abs=tolerance)
    (example,) = Sppo(Sppo.Options(form="pair")).examples([group], []).examples
    assert [c[0] - 10 for c in example.continuations] == [expected["chosen"], expected["rejected"]]
    wanted = [expected["chosen_probs_win"], expected["chosen_probs_lose"]]
    assert example.targets == pytest.approx(wanted, abs=tolerance)


def test_golden_start_of_training_from_logits(shared: Path) -> None:
    """From the judge's logits to loss and gradient; 1e5 before the first step is right."""
    logits = case_named(shared, "pairrm_k5_released_pipeline")["inputs"]["pair_logits"]
    expected = case_named(shared, "sppo_pair_at_init_from_k5")["expected"]
    group = judged_group(logits, ESTIMATORS["pairrm_k5_released_pipeline"])
    method = Sppo(Sppo.Options(form="pair", eta=1000))
    (example,) = method.examples([group], []).examples
    batch = batch_of(example, [-150.0, -170.0], [-150.0, -170.0])
    loss, metrics = method.loss(batch)
    loss.backward()
    gradients = [*expected["grad_policy_chosen_logps"], *expected["grad_policy_rejected_logps"]]
    assert loss.item() == pytest.approx(expected["loss_mean"], rel=1e-6)
    assert batch.policy_N.grad is not None
    assert batch.policy_N.grad.tolist() == pytest.approx(gradients, rel=1e-6)
    assert value(metrics["loss_over_eta2"]) == pytest.approx(0.102946448, rel=1e-6)
    assert value(metrics["accuracy"]) == 0


def test_golden_pointwise_from_logits(shared: Path) -> None:
    logits = case_named(shared, "pairrm_k5_released_pipeline")["inputs"]["pair_logits"]
    case = case_named(shared, "sppo_pointwise_k5")
    group = judged_group(logits, ESTIMATORS["pairrm_k5_released_pipeline"])
    method = Sppo(Sppo.Options(form="pointwise", eta=1000))
    (example,) = method.examples([group], []).examples
    batch = batch_of(example, case["inputs"]["policy_logps"], case["inputs"]["ref_logps"])
    loss = method.loss(batch).loss
    loss.backward()
    assert loss.item() == pytest.approx(case["expected"]["loss_mean"], rel=1e-6)
    assert batch.policy_N.grad is not None
    gradients = case["expected"]["grad_policy_logps"]
    assert batch.policy_N.grad.tolist() == pytest.approx(gradients, rel=1e-6)


def test_smoothed_labels_weigh_a_pair_both_ways(shared: Path) -> None:
    _, batch, _ = golden_batch(case_named(shared, "spin_sigmoid_beta0.1"))
    assert batch.reference_N is not None
    delta = (batch.policy_N - batch.reference_N).view(-1, 2)
    right = logistic_pair_loss(delta[:, 0], delta[:, 1], 0.1).mean().item()
    wrong = logistic_pair_loss(delta[:, 1], delta[:, 0], 0.1).mean().item()
    smoothed = Dpo(Dpo.Options(beta=0.1, label_smoothing=0.2)).loss(batch).loss.item()
    assert smoothed == pytest.approx(0.8 * right + 0.2 * wrong, abs=1e-12)


def test_sft_is_the_mean_over_tokens() -> None:
    n_tokens = torch.tensor([3, 2])
    none_N = torch.zeros(2, dtype=torch.bool)
    policy_N = torch.tensor([-6.0, -2.0])
    batch = LogpBatch(policy_N, None, torch.ones(2), torch.arange(2), n_tokens, none_N)
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


# --- properties of the whole methods ----------------------------------------------------------

tables = st.integers(2, 5).flatmap(
    lambda k: st.lists(st.lists(st.floats(-8, 8), min_size=k, max_size=k), min_size=k, max_size=k)
)
estimators = st.builds(
    PreferenceOptions,
    aggregation=st.sampled_from(["pairwise", "score_difference"]),
    self_comparison=st.booleans(),
    temperature=st.floats(0.2, 5),
)


def without_diagonal(logits: list[list[float]]) -> list[list[float]]:
    return [[0.0 if i == j else x for j, x in enumerate(row)] for i, row in enumerate(logits)]


@given(tables, estimators)
def test_win_probabilities_are_antisymmetric(
    logits: list[list[float]], options: PreferenceOptions
) -> None:
    group = judged_group(without_diagonal(logits), options)
    assert group.pair_probs is not None and group.win_probs is not None
    k = len(logits)
    for i in range(k):
        for j in range(k):
            assert group.pair_probs[i][j] + group.pair_probs[j][i] == pytest.approx(1)
    assert sum(group.win_probs) == pytest.approx(k / 2)  # so pointwise targets add up to 0


@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_responses_is_nothing(logits: list[list[float]], draw: Any) -> None:
    table = without_diagonal(logits)
    order = list(range(len(table)))
    draw.shuffle(order)
    logps = [draw.uniform(-30, -1) for _ in order]
    group = judged_group(table, PreferenceOptions())
    assert group.win_probs is not None and group.pair_probs is not None
    shuffled = replace(
        group,
        responses=tuple(group.responses[i] for i in order),
        win_probs=tuple(group.win_probs[i] for i in order),
        pair_probs=tuple(tuple(group.pair_probs[i][j] for j in order) for i in order),
    )
    method = Sppo(Sppo.Options(form="pointwise"))
    one, other = (method.examples([g], []).examples for g in (group, shuffled))
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert sorted(zip(a.continuations, a.targets, strict=True)) == sorted(
            zip(b.continuations, b.targets, strict=True)
        )
        reference = [-10.0] * len(order)
        loss = method.loss(batch_of(a, logps, reference)).loss.item()
        again = method.loss(batch_of(b, [logps[i] for i in order], reference)).loss.item()
        assert loss == pytest.approx(again, rel=1e-12)
    distinct = len(set(group.win_probs)) == len(order)
    for form in ("pair", "single", "hard"):
        pairs = Sppo(Sppo.Options(form=form))
        if distinct:  # between equal win probabilities the first wins
            assert pairs.examples([group], []).examples == pairs.examples([shuffled], []).examples


@given(
    st.sampled_from(["pair", "single", "hard", "pointwise"]),
    st.lists(st.tuples(st.floats(0, 1), numbers), min_size=2, max_size=2),
    st.floats(1, 1000),
)
def test_sppo_is_least_at_its_targets(
    form: str, responses: list[tuple[float, float]], eta: float
) -> None:
    probs = [p for p, _ in responses]
    example = TrainingExample("p", (1,), ((3, 2), (4, 2)), tuple(probs), ("stop", "stop"))
    method = Sppo(Sppo.Options(form=form, eta=eta))
    targets = [eta * (p - 0.5) for p in probs]
    at_target = batch_of(example, targets, [0.0, 0.0])
    loss = method.loss(at_target).loss
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert at_target.policy_N.grad is not None
    assert at_target.policy_N.grad.abs().max().item() == pytest.approx(0, abs=1e-6)
    moved = [target + step for target, (_, step) in zip(targets, responses, strict=True)]
    expected = sum(step**2 for _, step in responses) / 2
    found = method.loss(batch_of(example, moved, [0.0, 0.0])).loss.item()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(st.permutations(range(4)), st.lists(numbers, min_size=8, max_size=8))
@pytest.mark.parametrize("method", [Dpo, Spin, Sppo])
def test_the_order_of_pairs_is_nothing(
    method: type[Method], order: list[int], logps: list[float]
) -> None:
    subject = method(method.Options())
    chosen, rejected = logps[:4], logps[4:]

    def loss(places: list[int]) -> float:
        a, b = [chosen[i] for i in places], [rejected[i] for i in places]
        batch = pair_batch(a, b, [0.0] * 4, [0.0] * 4, ([0.9] * 4, [0.2] * 4))
        return subject.loss(batch).loss.item()

    assert loss(order) == pytest.approx(loss([0, 1, 2, 3]), rel=1e-9)
