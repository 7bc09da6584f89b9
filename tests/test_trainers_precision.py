"""The rules of precision, and what becomes of a step whose numbers are not finite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trainers_trainer import BASIC, difference, examples, ignore, pointwise, run
from tiny_models import tiny_model

from evalkit.errors import ScoreError
from evalkit.records import TrainingExample
from evalkit.scoring import ScoringModel
from evalkit.trainers import bad_batch
from evalkit.trainers.batches import pack
from evalkit.trainers.precision import (
    TOLERANCE_NATS,
    check_master_weights,
    check_starts_at_reference,
    warn_of_short_warm_up,
)
from evalkit.trainers.reference import reference_logps, training_model


def test_weights_are_trained_in_float32_only(tiny_llama: Path) -> None:
    settings = BASIC.model_copy(update={"precision": "bfloat16"})
    model = training_model(tiny_llama, settings)
    check_master_weights(model)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model.to(torch.bfloat16)
    with pytest.raises(ScoreError, match="would be trained in bfloat16"):
        check_master_weights(model)
    model.requires_grad_(False)  # the frozen weights around an adapter may be anything
    check_master_weights(model)


def test_updates_too_small_for_bfloat16_are_kept_while_training(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """Each step moves a weight by less than bfloat16 can tell; together they are seen."""
    settings = BASIC.model_copy(
        update={"precision": "bfloat16", "learning_rate": 1e-5, "schedule_epochs": 4.0}
    )
    run(tmp_path / "out", tiny_llama, settings)
    moved = difference(tmp_path / "out", tiny_llama)
    assert 2e-5 < moved < 2e-4


@pytest.mark.parametrize(
    ("update", "warns"),
    [
        ({}, True),  # 8 steps, of which 2 warm up
        ({"optimizer": "adamw_torch"}, False),
        ({"schedule_epochs": 25.0}, False),  # 100 steps, of which 20 warm up
        ({"schedule_epochs": 25.0, "warmup_ratio": 0.05}, True),
        ({"warmup_ratio": 0.0}, True),
    ],
)
def test_a_short_warm_up_of_rmsprop_is_told(
    capsys: pytest.CaptureFixture[str], update: dict[str, Any], warns: bool
) -> None:
    settings = BASIC.model_copy(update={"optimizer": "rmsprop", **update})
    warn_of_short_warm_up(settings, 14)
    assert ("warning: rmsprop with" in capsys.readouterr().err) == warns


def test_rmsprop_s_first_steps_are_as_large_as_the_warning_says() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.RMSprop([weight], lr=1.0)
    steps = []
    for _ in range(10):
        before = weight.item()
        weight.grad = torch.ones(1)
        optimizer.step()
        steps.append(before - weight.item())
    assert steps[0] == pytest.approx(10, rel=1e-3)
    assert steps[1] == pytest.approx(7.1, rel=1e-2)
    assert steps[9] < 3.3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_first_step_starts_at_exactly_zero(tiny_llama: Path, precision: Any) -> None:
    """The policy's passes are those of the reference, so there is not even rounding."""
    settings = BASIC.model_copy(update={"precision": precision})
    ready = reference_logps(examples(), tiny_llama, settings, 3, ignore)
    model = training_model(tiny_llama, settings).train()
    from evalkit.trainers.batches import epoch_order

    batch = [ready[index] for index in epoch_order(14, 3, 0)[:4]]
    [piece] = pack(batch, 4096, model.layout)
    policy_N = model(piece.packed).logp_N
    assert piece.reference_N is not None
    assert policy_N.detach().equal(piece.reference_N)


def long_examples(count: int, length: int) -> list[TrainingExample]:
    generator = torch.Generator().manual_seed(0)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 61, (n,), generator=generator).tolist())

    return [
        TrainingExample(str(i), ids(20), (ids(length), ids(length // 2)), (1.0, 0.0), ("stop",) * 2)
        for i in range(count)
    ]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_tolerance_lets_other_layouts_pass_and_other_weights_not(precision: Any) -> None:
    """Rounding stays far below it in passes laid out otherwise; a nudged model does not."""
    data = long_examples(6, 120)
    scores = {}
    for layout in ("tree", "padded"):
        model = ScoringModel(tiny_model("llama", initializer_range=0.1), layout, precision)
        found = []
        for example in data if layout == "padded" else [data]:
            group = [example] if layout == "padded" else example
            for piece in pack(group, 10_000, layout):
                with torch.no_grad():
                    found.append(model(piece.packed).logp_N)
        scores[layout] = torch.cat(found)
    known = [
        replace(example, reference_logps=tuple(scores["padded"].view(-1, 2)[i].tolist()))
        for i, example in enumerate(data)
    ]
    [piece] = pack(known, 10_000, "tree")
    check_starts_at_reference(piece, scores["tree"], precision)
    root_N = piece.n_tokens_N.sqrt()
    drift = float(((scores["tree"] - scores["padded"]).abs() / root_N).max())
    assert drift < TOLERANCE_NATS[precision] / 4
    moved_N = scores["tree"] + 2 * TOLERANCE_NATS[precision] * root_N
    with pytest.raises(ScoreError, match="instead of 0"):
        check_starts_at_reference(piece, moved_N, precision)


# --- numbers that are not finite --------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_with_its_batch_kept(
    tiny_llama: Path, tmp_path: Path
) -> None:
    data = examples()
    data[2] = replace(data[2], targets=(float("nan"), 0.5, 0.5))
    with pytest.raises(ScoreError, match=r"the loss of step \d is not a finite number") as error:
        run(tmp_path / "out", tiny_llama, data=data)
    file = tmp_path / "out-work" / bad_batch.FILE
    assert str(file) in error.value.message
    batch = bad_batch.read(file)
    assert "p2" in [example.prompt_id for example in batch.examples]
    assert f"step {batch.step} " in error.value.message
    again = replayed_loss(tiny_llama, batch)
    assert again != again  # the same NaN
    without = [example for example in batch.examples if example.prompt_id != "p2"]
    assert torch.isfinite(torch.tensor(replayed_loss(tiny_llama, batch._replace(examples=without))))


def replayed_loss(start: Path, batch: bad_batch.BadBatch) -> float:
    """The loss of a kept batch under the checkpoint it started from."""
    model = training_model(start, BASIC)
    [piece] = pack(batch.examples, 4096, model.layout)
    return pointwise().loss(piece.logp_batch(model(piece.packed).logp_N)).loss.item()


def test_a_kept_batch_says_all_that_the_step_was_given(tiny_llama: Path, tmp_path: Path) -> None:
    data = examples()
    data[2] = replace(data[2], targets=(float("nan"), 0.5, 0.5))
    with pytest.raises(ScoreError):
        run(tmp_path / "out", tiny_llama, BASIC.model_copy(update={"warmup_ratio": 0.0}), data=data)
    batch = bad_batch.read(tmp_path / "out-work" / bad_batch.FILE)
    known = {example.prompt_id: example for example in data}
    for example, policy in zip(batch.examples, batch.policy_logps, strict=True):
        given = known[example.prompt_id]
        assert example.prompt_token_ids == given.prompt_token_ids
        assert example.continuations == given.continuations
        assert [repr(t) for t in example.targets] == [repr(t) for t in given.targets]
        assert example.reference_logps is not None
        assert len(policy) == len(example.continuations)
    assert batch.learning_rate == pytest.approx(1e-3 * (1 - (batch.step - 1) / 8))


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.0])
def test_a_gradient_that_is_no_number_stops_before_it_spoils_weights(
    tiny_llama: Path, tmp_path: Path, max_grad_norm: float
) -> None:
    settings = BASIC.model_copy(update={"save_steps": 1, "max_grad_norm": max_grad_norm})
    spoiled: dict[str, Any] = {}

    def spoil(done: int, total: int, note: str = "") -> None:
        if note.startswith("training") and done == 2 and not spoiled:
            spoiled["hook"] = torch.nn.modules.module.register_module_full_backward_hook(overflow)

    with pytest.raises(ScoreError, match="the gradient of step 3 is not a finite number"):
        run(tmp_path / "out", tiny_llama, settings, progress=spoil)
    spoiled["hook"].remove()
    batch = bad_batch.read(tmp_path / "out-work" / bad_batch.FILE)
    assert batch.step == 3
    assert len(batch.examples) == 4
    # Nothing was lost: training goes on from the step before, and the kept batch is cleared away.
    whole = run(tmp_path / "whole", tiny_llama, settings)
    assert run(tmp_path / "out", tiny_llama, settings) == whole
    assert difference(tmp_path / "out", tmp_path / "whole") == 0
    assert not (tmp_path / "out-work" / bad_batch.FILE).exists()


def overflow(module: torch.nn.Module, inputs: Any, outputs: Any) -> Any:
    """A backward pass in which a gradient leaves the range of float32."""
    return tuple(None if grad is None else grad * float("inf") for grad in inputs)
