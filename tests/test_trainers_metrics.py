"""What is watched while a model trains: right, exact over parts and ranks, equal for equal runs."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_trainers_trainer import BASIC, examples, make, metrics, run
from transformers import AutoModelForCausalLM

from evalkit.records import TrainingExample
from evalkit.roles import LogpBatch
from evalkit.trainers.watching import Correlation, Mean, Tally, alarms, k3, over_last_epoch

numbers = st.floats(-1e3, 1e3)


def alone(sums: torch.Tensor) -> torch.Tensor:
    """One rank has nothing to add up."""
    return sums


def tallied(*parts: dict[str, Any]) -> dict[str, float]:
    tally = Tally("cpu")
    for part in parts:
        tally.add(part)
    return tally.drain(alone)


# --- statistics -------------------------------------------------------------------------------


@given(st.lists(numbers, min_size=1, max_size=20), st.integers(0, 20))
def test_a_mean_is_the_same_in_two_parts(values: list[float], cut: int) -> None:
    whole = tallied({"mean": Mean.of(torch.tensor(values))})
    parts = tallied(*({"mean": Mean.of(torch.tensor(p))} for p in (values[:cut], values[cut:])))
    assert whole["mean"] == pytest.approx(parts["mean"], rel=1e-9, abs=1e-9)
    assert whole["mean"] == pytest.approx(sum(values) / len(values), rel=1e-5, abs=1e-5)


@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=20), st.integers(1, 19))
def test_a_correlation_is_the_same_in_two_parts(pairs: list[tuple[float, float]], cut: int) -> None:
    x, y = (torch.tensor(side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    whole = tallied({"r": Correlation(x, y)})
    parts = tallied({"r": Correlation(x[:cut], y[:cut])}, {"r": Correlation(x[cut:], y[cut:])})
    assert whole == pytest.approx(parts, abs=1e-6)
    if "r" in whole:
        assert -1.0000001 <= whole["r"] <= 1.0000001
        assert whole["r"] == pytest.approx(
            float(torch.corrcoef(torch.stack([x, y]))[0, 1]), abs=1e-6
        )


def test_what_says_nothing_is_left_out() -> None:
    still, moving = torch.full((5,), 0.1), torch.arange(5.0)
    found = tallied(
        {
            "no items": Mean(torch.tensor(0.0), 0.0),
            "nobody chosen": Mean.within(moving, torch.zeros(5)),
            "does not vary": Correlation(still, moving),
            "varies": Correlation(moving, -2 * moving),
        }
    )
    assert found == {"varies": pytest.approx(-1)}


def test_a_drained_tally_begins_anew() -> None:
    tally = Tally("cpu")
    for values in ([1.0, 2.0], [5.0]):
        tally.add({"mean": Mean.of(torch.tensor(values))})
        assert tally.drain(alone)["mean"] == sum(values) / len(values)


def test_ranks_are_added_up() -> None:
    tally = Tally("cpu")
    tally.add({"a": Mean.of(torch.tensor([1.0])), "b": Correlation(*torch.eye(2))})
    other = torch.tensor([5.0, 1, *Correlation(*torch.ones(2, 2)).sums().tolist()])
    assert tally.drain(lambda sums: sums + other)["a"] == 3


@given(st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), min_size=1, max_size=9))
def test_k3_is_never_negative_and_zero_where_nothing_changed(
    logps: list[tuple[float, float]],
) -> None:
    policy, reference = (torch.tensor(side) for side in zip(*logps, strict=True))
    assert bool((k3(policy, reference) >= 0).all())
    assert k3(policy, policy).abs().max() == 0


def test_k3_and_k1_estimate_the_divergence() -> None:
    """Averaged over all of a small vocabulary instead of samples, both are the divergence."""
    torch.manual_seed(0)
    reference, policy = torch.randn(2, 30, dtype=torch.float64).log_softmax(-1)
    exact = (reference.exp() * (reference - policy)).sum()
    assert (reference.exp() * k3(policy, reference)).sum() == pytest.approx(exact.item())


# --- a step's metrics, against a plain computation ---------------------------------------------


@pytest.fixture(scope="module")
def step_two(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two equal runs, one a step longer: its second line is of the weights the other ends with."""
    folder = tmp_path_factory.mktemp("step-two")
    settings = BASIC.model_copy(
        update={"batch_size": 14, "warmup_ratio": 0.0, "schedule": "constant", "max_length": 14}
    )
    data = [replace(example, finish_reasons=("stop", "length", "gold")) for example in examples(14)]
    method = make("sppo", form="pointwise", eta=20, samples=3)
    for epochs in (1.0, 2.0):
        changed = settings.model_copy(update={"schedule_epochs": epochs})
        run(folder / f"{epochs:.0f}", tiny_llama, changed, method, data)
    first, second = metrics(folder / "2")
    fitted = [_cut(example, 14) for example in data]
    return {
        "first": first,
        "line": second,
        "policy": [_tables(folder / "1", example) for example in fitted],
        "reference": [_tables(tiny_llama, example) for example in fitted],
        "data": fitted,
        "whole": data,
    }


def _cut(example: TrainingExample, length: int) -> TrainingExample:
    room = length - len(example.prompt_token_ids)
    return replace(example, continuations=tuple(c[:room] for c in example.continuations))


_MODELS: dict[Path, Any] = {}


def _tables(folder: Path, example: TrainingExample) -> list[torch.Tensor]:
    """The log-probabilities of the whole vocabulary at each token of each continuation."""
    model = _MODELS.setdefault(folder, AutoModelForCausalLM.from_pretrained(folder))
    prompt = example.prompt_token_ids
    with torch.no_grad():
        return [
            model(torch.tensor([[*prompt, *c]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            for c in example.continuations
        ]


def _scored(step_two: dict[str, Any], who: str, places: tuple[int, ...]) -> list[torch.Tensor]:
    """Log-probabilities of the tokens of the continuations at these places of each example."""
    return [
        tables[k].gather(1, torch.tensor(example.continuations[k])[:, None])[:, 0]
        for example, tables in zip(step_two["data"], step_two[who], strict=True)
        for k in places
    ]


def test_kl_is_of_own_samples_alone(step_two: dict[str, Any]) -> None:
    policy = _scored(step_two, "policy", (0, 1))  # the third came from the data
    reference = _scored(step_two, "reference", (0, 1))
    d = torch.cat(policy) - torch.cat(reference)
    k1 = -sum(float((p - r).sum()) for p, r in zip(policy, reference, strict=True)) / len(policy)
    line, first = step_two["line"], step_two["first"]
    assert line["kl_k1_nats"] == pytest.approx(k1, abs=1e-4)
    assert line["kl_k3_per_token_nats"] == pytest.approx(float((d.exp() - 1 - d).mean()), rel=1e-3)
    assert line["kl_k3_per_token_nats"] > 1e-5
    assert first["kl_k1_nats"] == pytest.approx(0, abs=1e-5)
    assert first["kl_k3_per_token_nats"] == pytest.approx(0, abs=1e-9)


def test_an_older_policy_s_samples_say_nothing_of_the_current_one(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """SPIN trains on pairs of earlier iterations: neither KL nor the opponent is told by them."""
    settings = BASIC.model_copy(
        update={"batch_size": 14, "warmup_ratio": 0.0, "schedule": "constant"}
    )
    spin = make("spin", beta=0.1)
    ends = ("gold", "stop")
    data = [
        replace(e, targets=(1.0, 0.0), finish_reasons=ends, earlier=number < 6)
        for number, e in enumerate(examples(14, k=2))
    ]
    for epochs in (1.0, 2.0):
        changed = settings.model_copy(update={"schedule_epochs": epochs})
        run(tmp_path / f"{epochs:.0f}", tiny_llama, changed, spin, data)
    line = metrics(tmp_path / "2")[1]  # of the weights that the shorter run ends with
    folders = {"policy": tmp_path / "1", "reference": tiny_llama}
    found: dict[str, Any] = {"data": data}
    found |= {who: [_tables(folder, e) for e in data] for who, folder in folders.items()}
    scored = {(who, k): _scored(found, who, (k,)) for who in folders for k in (0, 1)}
    delta = [
        [
            float((p - r).sum())
            for p, r in zip(scored["policy", k], scored["reference", k], strict=True)
        ]
        for k in (0, 1)
    ]
    own = range(6, 14)
    assert line["kl_k1_nats"] == pytest.approx(-sum(delta[1][i] for i in own) / 8, abs=1e-4)
    d = torch.cat([scored["policy", 1][i] - scored["reference", 1][i] for i in own])
    assert line["kl_k3_per_token_nats"] == pytest.approx(float((d.exp() - 1 - d).mean()), rel=1e-3)
    told_apart = [delta[0][i] > delta[1][i] for i in range(14)]
    assert line["opponent_accuracy"] == pytest.approx(sum(told_apart[6:]) / 8)
    assert line["accuracy"] == pytest.approx(sum(told_apart) / 14)
    assert line["drawn_by_reference"] == pytest.approx(8 / 14)
    every = metrics(tmp_path / "2")
    assert all(one["drawn_by_reference"] == pytest.approx(8 / 14) for one in every)


def test_entropy_and_hits_are_means_over_tokens(step_two: dict[str, Any]) -> None:
    tables = torch.cat([table for tables in step_two["policy"] for table in tables])
    targets = torch.tensor([t for e in step_two["data"] for c in e.continuations for t in c])
    line = step_two["line"]
    entropy = -(tables.exp() * tables).sum(-1).mean()
    assert line["entropy_nats"] == pytest.approx(float(entropy), rel=1e-5)
    hits = (tables.argmax(-1) == targets).float().mean()
    assert line["token_accuracy"] == pytest.approx(float(hits))


def test_lengths_endings_and_truncation(step_two: dict[str, Any]) -> None:
    line, data, whole = step_two["line"], step_two["data"], step_two["whole"]
    lengths = [len(c) for example in data for c in example.continuations]
    uncut = [len(c) for example in whole for c in example.continuations]
    cut = sum(a < b for a, b in zip(lengths, uncut, strict=True))
    assert line["response_tokens"] == pytest.approx(sum(lengths) / 42)
    assert 0 < cut < 42
    assert line["truncated"] == pytest.approx(cut / 42)
    assert line["unfinished"] == pytest.approx(1 / 2)  # of those that the policy sampled
    tokens = sum(lengths) + sum(len(example.prompt_token_ids) for example in data)
    assert line["tokens_per_step"] == tokens


def test_the_fit_of_sppo(step_two: dict[str, Any]) -> None:
    policy = _scored(step_two, "policy", (0, 1, 2))
    reference = _scored(step_two, "reference", (0, 1, 2))
    delta = torch.stack([(p - r).sum() for p, r in zip(policy, reference, strict=True)])
    win = torch.tensor([t for example in step_two["data"] for t in example.targets])
    target = 20 * (win - 0.5)
    line = step_two["line"]
    assert line["delta_nats"] == pytest.approx(float(delta.mean()), abs=1e-4)
    assert line["target_nats"] == pytest.approx(float(target.mean()), abs=1e-5)
    assert line["target_abs_nats"] == pytest.approx(float(target.abs().mean()), rel=1e-5)
    residual = float((delta - target).abs().mean())
    assert line["residual_abs_nats"] == pytest.approx(residual, rel=1e-4)
    correlation = float(torch.corrcoef(torch.stack([delta, win]))[0, 1])
    assert line["delta_win_correlation"] == pytest.approx(correlation, abs=1e-3)
    agree = (delta.sign() == target.sign()).float().mean()
    assert line["sign_agreement"] == pytest.approx(float(agree))
    loss = float(((delta - target) ** 2).mean())
    assert line["loss"] == pytest.approx(loss, rel=1e-4)
    assert line["loss_over_eta2"] == pytest.approx(loss / 400, rel=1e-4)
    assert (
        "delta_win_correlation" not in step_two["first"]
        or abs(step_two["first"]["delta_nats"]) < 1e-5
    )


def test_what_pairs_are_watched_for(tiny_llama: Path, tmp_path: Path) -> None:
    data = [replace(example, targets=(1.0, 0.0)) for example in examples(14, k=2)]
    settings = BASIC.model_copy(update={"batch_size": 14, "schedule": "constant"})
    run(tmp_path / "run", tiny_llama, settings, make("dpo", beta=0.3), data)
    line = metrics(tmp_path / "run")[-1]
    logps = _scored(
        {"data": data, "policy": [_tables(tiny_llama, e) for e in data]}, "policy", (0,)
    )
    lengths = [len(example.continuations[0]) for example in data]
    first = metrics(tmp_path / "run")[0]
    total = float(torch.cat(logps).sum())
    assert first["logp_chosen_nats"] == pytest.approx(total / 14, rel=1e-5)
    assert first["logp_chosen_per_token_nats"] == pytest.approx(total / sum(lengths), rel=1e-5)
    assert first["response_tokens_chosen"] == pytest.approx(sum(lengths) / 14)
    assert first["accuracy"] == 0  # equal log-ratios are not a success
    assert first["chosen_fell"] < 1
    assert line["reward_margin"] == pytest.approx(0.3 * line["margin_nats"])
    difference = line["delta_chosen_nats"] - line["delta_rejected_nats"]
    assert line["margin_nats"] == pytest.approx(difference, abs=1e-6)


def test_an_iteration_is_told_by_its_last_pass_over_the_data(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = ("gold", "stop")
    data = [replace(e, targets=(1.0, 0.0), finish_reasons=ends) for e in examples(14, k=2)]
    settings = BASIC.model_copy(update={"schedule_epochs": 3.0, "learning_rate": 2e-3})
    summary = run(tmp_path / "run", tiny_llama, settings, make("spin", beta=50.0), data)
    lines = metrics(tmp_path / "run")
    assert len(lines) == 12
    for name in ("opponent_accuracy", "saturated", "kl_k3_per_token_nats", "chosen_fell"):
        mean = sum(line[name] for line in lines[8:]) / 4  # fourteen examples make four steps
        assert summary.to_json()["last_epoch"][name] == pytest.approx(mean)
    assert summary.last_epoch["saturated"] > 0.9
    said = " ".join(capsys.readouterr().err.split())
    assert "of the pairs teach next to nothing any more" in said
    assert ("became less likely" in said) == (summary.last_epoch["chosen_fell"] > 0.5)


def test_what_alarms() -> None:
    assert alarms({"chosen_fell": 0.5, "saturated": 0.9}) == []
    assert alarms({}) == []
    [fell] = alarms({"chosen_fell": 0.61})
    assert fell.startswith("61% of the chosen responses became less likely")
    assert over_last_epoch([{"step": 2, "accuracy": 1.0}, {"step": 4, "accuracy": 0.5}], 2) == {
        "accuracy": 0.5
    }


def test_gradients_are_told_before_the_clip(tiny_llama: Path, tmp_path: Path) -> None:
    free = BASIC.model_copy(update={"optimizer": "sgd", "learning_rate": 1e-9})
    run(tmp_path / "free", tiny_llama, free.model_copy(update={"max_grad_norm": 0.0}))
    norms = [line["grad_norm"] for line in metrics(tmp_path / "free")]
    limit = sum(sorted(norms)[3:5]) / 2  # between two of the eight
    run(tmp_path / "clipped", tiny_llama, free.model_copy(update={"max_grad_norm": limit}))
    found = metrics(tmp_path / "clipped")
    assert [line["grad_norm"] for line in found] == pytest.approx(norms, rel=1e-4)
    assert [line["clipped"] for line in found] == [float(norm > limit) for norm in norms]
    assert {line["clipped"] for line in metrics(tmp_path / "free")} == {0.0}
    pairs = free.model_copy(update={"max_grad_norm": limit, "log_steps": 2})
    run(tmp_path / "two", tiny_llama, pairs)
    for number, line in enumerate(metrics(tmp_path / "two")):
        both = found[2 * number : 2 * number + 2]
        assert line["grad_norm"] == pytest.approx(sum(one["grad_norm"] for one in both) / 2)
        assert line["clipped"] == sum(one["clipped"] for one in both) / 2
        tokens = sum(one["tokens_per_step"] for one in both) / 2
        assert line["tokens_per_step"] == pytest.approx(tokens)


def test_equal_runs_give_equal_bytes_whatever_the_clock(tiny_llama: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(tmp_path / name, tiny_llama)
    one, two = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two
    for line in metrics(tmp_path / "one"):
        assert all(math.isfinite(value) for value in line.values())
        assert not any("second" in key or "time" in key for key in line)
    assert json.loads(one.splitlines()[0])["step"] == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [("sft", {}), ("dpo", {}), ("spin", {}), ("sppo", {}), ("sppo", {"form": "pointwise"})],
)
def test_every_metric_stands_in_the_documentation(
    name: str, options: dict[str, Any], step_two: dict[str, Any]
) -> None:
    page = (Path(__file__).parent.parent / "docs" / "training.md").read_text("utf-8")
    told = set(re.findall(r"`([a-z0-9_]+)`", page))
    four = torch.tensor([-1.0, -2.0, -3.0, -4.0])
    pairs, lengths = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 3, 4])
    batch = LogpBatch(four, four, torch.ones(4), pairs, lengths, torch.ones(4) > 0)
    assert set(make(name, **options).loss(batch).metrics) <= told
    assert set(step_two["line"]) - {"step"} <= told
