"""Loss and gradients equal those of TRL's DPOTrainer, where it has the same objective."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit.records import TrainingExample
from evalkit.registry import load
from evalkit.roles import Method
from evalkit.trainers.batches import pack
from evalkit.trainers.reference import training_model
from evalkit.training_settings import TrainingSettings

# Importing it, and `datasets` with it, takes seconds.
pytestmark = pytest.mark.slow

BETA = 0.1
METHODS = {
    "sppo_hard": ("sppo", {"form": "hard", "eta": 1 / BETA}, 2.0),  # TRL's is not halved
    "sigmoid": ("spin", {"beta": BETA}, 1.0),
    "hinge": ("spin", {"beta": BETA, "loss": "hinge"}, 1.0),
}


def pairs(count: int) -> list[TrainingExample]:
    """Pairs of unequal lengths; responses end with the end-of-text token (id 2)."""
    draw = random.Random(0)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(draw.randrange(10, 380) for _ in range(length))

    return [
        TrainingExample(
            str(number),
            ids(draw.randint(3, 20)),
            ((*ids(draw.randint(2, 30)), 2), (*ids(draw.randint(2, 30)), 2)),
            (1.0, 0.0),
            ("stop", "stop"),
        )
        for number in range(count)
    ]


def shaken(model: Any) -> Any:
    """The model with other weights, so that log-ratios to the original are not zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("loss_type", METHODS)
def test_loss_and_gradient_equal_trl_s(tiny_llama: Path, tmp_path: Path, loss_type: str) -> None:
    trl = pytest.importorskip("trl", reason="would compare with TRL's loss")
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    examples = pairs(4)
    rows = [
        {
            "prompt_ids": list(e.prompt_token_ids),
            "chosen_ids": list(e.continuations[0]),
            "rejected_ids": list(e.continuations[1]),
        }
        for e in examples
    ]
    settings = TrainingSettings(batch_size=4)
    peer = trl.DPOTrainer(
        model=shaken(AutoModelForCausalLM.from_pretrained(tiny_llama, dtype="float32")),
        ref_model=AutoModelForCausalLM.from_pretrained(tiny_llama, dtype="float32"),
        args=trl.DPOConfig(
            output_dir=str(tmp_path), loss_type=loss_type, beta=BETA, bf16=False, use_cpu=True,
            per_device_train_batch_size=4, report_to="none", dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=AutoTokenizer.from_pretrained(tiny_llama),
    )  # fmt: skip
    theirs = peer.compute_loss(peer.model, peer.data_collator(rows))
    theirs.backward()

    name, options, scale = METHODS[loss_type]
    plugin = load("methods", name)
    method: Method = plugin(plugin.Options(**options))
    own = training_model(tiny_llama, settings)
    ours = own_loss(own, method, examples, tiny_llama, settings) * scale
    ours.backward()

    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    gradients = {n.removeprefix("model."): p.grad for n, p in own.named_parameters()}
    difference = norm([gradients[n] - p.grad for n, p in peer.model.named_parameters()])
    assert difference <= 1e-5 * norm([p.grad for p in peer.model.parameters()])
    assert ours.item() > 0


def own_loss(
    own: Any,
    method: Method,
    examples: list[TrainingExample],
    start: Path,
    settings: TrainingSettings,
) -> torch.Tensor:
    """Our loss of the shaken model, the reference being the one it was shaken from."""
    from evalkit.trainers.reference import reference_logps

    ready = reference_logps(examples, start, settings, 0, lambda done, total, note="": None)
    shaken(own.model)
    [piece] = pack(ready, 4096, own.layout)
    return method.loss(piece.logp_batch(own(piece.packed).logp_N)).loss


def norm(tensors: list[torch.Tensor]) -> float:
    """Euclidean norm over all entries of all tensors."""
    return float(torch.sqrt(sum(t.double().square().sum() for t in tensors)))  # type: ignore[arg-type]
