"""Adapters: equal to peft's own loop, merged once, gone on with, and resumed bit for bit."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file
from test_trainers_trainer import BASIC, examples, ignore, make, metrics, pointwise
from tiny_models import tiny_model
from transformers import AutoModelForCausalLM

from evalkit.errors import RecipeError
from evalkit.loading import without_weights
from evalkit.records import TrainingExample
from evalkit.roles import Progress
from evalkit.trainers import reference
from evalkit.trainers.adapters import (
    add_adapter,
    frozen_model,
    merged,
    save_adapter,
    targets,
)
from evalkit.trainers.batches import epoch_order
from evalkit.trainers.before import NOTHING, Before
from evalkit.trainers.training import TrainingSummary, train
from evalkit.training_settings import Adapter, TrainingSettings

SEED, RATE = 3, 2e-3
LORA = BASIC.model_copy(update={"adapter": Adapter(rank=4, alpha=8), "learning_rate": RATE})
FROZEN = LORA.model_copy(update={"adapter": Adapter(rank=4, alpha=8, previous="frozen")})
needs_nf4 = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="no bitsandbytes")


def run(
    folder: Path,
    start: Path,
    settings: TrainingSettings = LORA,
    before: Before = NOTHING,
    data: list[TrainingExample] | None = None,
    progress: Progress = ignore,
) -> TrainingSummary:
    folder.mkdir(exist_ok=True)
    work = folder.with_name(folder.name + "-work")
    data = data or examples()
    return train(pointwise(), data, start, settings, folder, SEED, progress, work, before)


def with_adapter(**changes: Any) -> TrainingSettings:
    """LORA with another adapter, and what else is needed for it."""
    precision = changes.pop("precision", "float32")
    adapter = Adapter(rank=4, alpha=8, **changes)
    return LORA.model_copy(update={"adapter": adapter, "precision": precision})


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def adapter_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def logps(model: Any, example: TrainingExample) -> torch.Tensor:
    """Summed log-probabilities of the continuations, by whole rows of logits."""
    sums = []
    for continuation in example.continuations:
        ids = torch.tensor([[*example.prompt_token_ids, *continuation]])
        table = model(ids).logits[0, len(example.prompt_token_ids) - 1 : -1].log_softmax(-1)
        sums.append(table.gather(1, torch.tensor(continuation)[:, None]).sum())
    return torch.stack(sums)


def plain_loop(model: Any, data: list[TrainingExample], reference: list[torch.Tensor]) -> None:
    """Two epochs of pointwise SPPO as BASIC has them, in straightforward torch."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    total, warmup = 8, 2
    for step in range(total):
        epoch, batch = divmod(step, 4)
        members = epoch_order(len(data), SEED, epoch)[4 * batch : 4 * batch + 4]
        loss = torch.zeros(())
        for i in members:
            error = (
                logps(model, data[i]) - reference[i] - 20 * (torch.tensor(data[i].targets) - 0.5)
            )
            loss = loss + (error**2).mean() / 20 / len(members)
        rate = step / warmup if step < warmup else (total - step) / (total - warmup)
        optimizer.param_groups[0]["lr"] = RATE * rate
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()


def test_two_iterations_equal_a_loop_with_pefts_own_model(tiny_llama: Path, tmp_path: Path) -> None:
    """One adapter over the first weights throughout; the reference is what it was in between."""
    data = examples()
    run(tmp_path / "one", tiny_llama, FROZEN)
    before = Before(adapter=tmp_path / "one" / "adapter")
    run(tmp_path / "two", tiny_llama, FROZEN, before)

    torch.manual_seed(SEED)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_llama), config)
    for name in ("one", "two"):
        with torch.no_grad():
            reference = [logps(model, example) for example in data]
        plain_loop(model, data, reference)
        ours, plain = adapter_of(tmp_path / name), model.state_dict()
        for key, tensor in ours.items():
            theirs = plain[key.replace(".weight", ".default.weight")]
            assert (tensor - theirs).abs().max() < 1e-5, (name, key)
    assert len(ours) == sum("lora_" in key for key in plain)
    assert metrics(tmp_path / "two")[0]["delta_nats"] == pytest.approx(0, abs=1e-4)


def test_the_reference_is_the_iteration_before_and_not_the_first_weights(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """With the adapter switched off as the reference, the opponent would forever be the base."""
    data = examples()
    run(tmp_path / "one", tiny_llama, FROZEN)
    before = tmp_path / "one" / "adapter"
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with torch.no_grad():
        of_base = torch.stack([logps(base, example) for example in data])
        iteration = PeftModel.from_pretrained(base, before)
        of_iteration = torch.stack([logps(iteration, example) for example in data])
    found = reference.reference_logps(
        data, tiny_llama, FROZEN, SEED, ignore, tmp_path / "cache", adapter=before
    )
    ours = torch.tensor([example.reference_logps for example in found])
    assert (ours - of_iteration).abs().max() < 1e-3
    assert (ours - of_base).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_merging_rounds_once_to_what_the_start_is_stored_in(
    tiny_llama: Path, tmp_path: Path, kind: str
) -> None:
    start = tmp_path / "start"
    AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=kind).save_pretrained(start)
    for file in tiny_llama.glob("tokenizer*"):
        (start / file.name).write_bytes(file.read_bytes())
    summary = run(tmp_path / "out", start)
    factors = {
        name.removeprefix("base_model.model."): one
        for name, one in adapter_of(tmp_path / "out").items()
    }
    old, new = stored(start), stored(tmp_path / "out")
    changed = 0
    for name, weight in old.items():
        layer = name.removesuffix(".weight")
        expected = weight
        if f"{layer}.lora_A.weight" in factors:
            a, b = factors[f"{layer}.lora_A.weight"], factors[f"{layer}.lora_B.weight"]
            expected = (weight.float() + 2.0 * (b @ a)).to(weight.dtype)
            changed += 1
        assert new[name].dtype == getattr(torch, kind)
        assert (new[name].float() - expected.float()).abs().max() <= 1e-6, name
    assert changed == 14  # seven linear layers in each of two blocks; neither embedding nor head
    assert summary.trainable_parameters == sum(factor.numel() for factor in factors.values())
    assert "base_error" not in summary.to_json()


def test_merging_is_done_in_float32_whatever_the_start_is_stored_in(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """Added to a bfloat16 weight, an update is rounded before the sum is: another checkpoint."""
    start, folder = tmp_path / "start", tmp_path / "adapter"
    AutoModelForCausalLM.from_pretrained(tiny_llama, dtype="bfloat16").save_pretrained(start)
    for file in tiny_llama.glob("tokenizer*"):
        (start / file.name).write_bytes(file.read_bytes())
    model = frozen_model(start, LORA)
    assert LORA.adapter is not None
    add_adapter(model, LORA.adapter, SEED)
    draw = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:  # updates about as large as the weights: no rounding is hidden
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=draw)
    save_adapter(model, dict(model.state_dict()), folder, "base")
    found = merged(model, start, folder).model
    factors, old = load_file(folder / "adapter_model.safetensors"), stored(start)
    assert {parameter.dtype for parameter in found.parameters()} == {torch.float32}
    found.to(torch.bfloat16).save_pretrained(tmp_path / "out")
    rounded_twice = 0
    for name, weight in stored(tmp_path / "out").items():
        layer = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{layer}.lora_A.weight" not in factors:
            assert weight.equal(old[name]), name
            continue
        update = 2.0 * factors[f"{layer}.lora_B.weight"] @ factors[f"{layer}.lora_A.weight"]
        exact = old[name].float() + update
        # float32 sums in another order may fall on the other side of a tie, which is rare.
        off = (weight.float() - exact).abs() / exact.abs().clamp(min=1e-3)
        assert off.max() <= 2.0**-8, name
        assert (weight == exact.bfloat16()).float().mean() > 0.999, name
        rounded_twice += int((weight != old[name] + update.bfloat16()).sum())
    assert rounded_twice > 1000  # as many would differ


def test_the_adapter_is_kept_in_pefts_own_format(tiny_llama: Path, tmp_path: Path) -> None:
    run(tmp_path / "out", tiny_llama, before=Before(start_name="org/base"))
    folder = tmp_path / "out" / "adapter"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/base"
    assert config["target_modules"] == sorted(config["target_modules"])
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
        ids = torch.arange(10, 40)[None]
        theirs = PeftModel.from_pretrained(base, folder)(ids).logits
        assert (merged(ids).logits - theirs).abs().max() < 1e-4
    for file in (tmp_path / "out").rglob("*"):
        assert file.is_dir() or str(tmp_path.parent).encode() not in file.read_bytes(), file.name


class Killed(Exception):  # noqa: N818
    """Stands for a kill at this very moment."""


@pytest.mark.parametrize(
    "base_precision", ["float32", pytest.param("nf4", marks=[needs_nf4, pytest.mark.slow])]
)
def test_a_killed_run_resumes_bit_for_bit_from_a_small_checkpoint(
    tiny_llama: Path, tmp_path: Path, base_precision: Any
) -> None:
    settings = with_adapter(base_precision=base_precision).model_copy(update={"save_steps": 3})
    unbroken = run(tmp_path / "unbroken", tiny_llama, settings)

    def killer(done: int, total: int, note: str = "") -> None:
        if note.startswith("training") and done == 5:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "broken", tiny_llama, settings, progress=killer)
    file = tmp_path / "broken-work" / "checkpoint-3" / "weights.pt"
    assert all("lora_" in name for name in torch.load(file, weights_only=True))
    assert file.stat().st_size < 0.2 * (tiny_llama / "model.safetensors").stat().st_size
    assert run(tmp_path / "broken", tiny_llama, settings) == unbroken
    for file in sorted((tmp_path / "unbroken").rglob("*.*")):
        other = tmp_path / "broken" / file.relative_to(tmp_path / "unbroken")
        assert file.read_bytes() == other.read_bytes(), file.name


def test_a_bfloat16_base_is_frozen_and_its_adapter_float32(
    tiny_llama: Path, tmp_path: Path
) -> None:
    settings = with_adapter(precision="bfloat16")
    model = reference.training_model(tiny_llama, settings, SEED).model
    kinds = {(p.requires_grad, p.dtype) for p in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    run(tmp_path / "half", tiny_llama, settings)  # asserts that it starts at its reference
    run(tmp_path / "whole", tiny_llama)
    half, whole = (torch.cat([t.flatten() for t in adapter_of(tmp_path / name).values()])
                   for name in ("half", "whole"))  # fmt: skip
    assert torch.cosine_similarity(half, whole, dim=0) > 0.98


@needs_nf4
def test_qlora_keeps_four_bits_for_the_frozen_layers_and_merges_into_the_stored_ones(
    tiny_llama: Path, tmp_path: Path
) -> None:
    from bitsandbytes.nn import Linear4bit

    settings = with_adapter(base_precision="nf4")
    model = frozen_model(tiny_llama, settings)
    quantized = [name for name, one in model.named_modules() if isinstance(one, Linear4bit)]
    assert len(quantized) == 14
    assert not isinstance(model.get_output_embeddings(), Linear4bit)
    summary = run(tmp_path / "out", tiny_llama, settings)
    # 4-bit normal floats leave about a tenth of the norm of normally distributed weights.
    assert summary.base_error is not None and 0.05 < summary.base_error < 0.15
    assert abs(metrics(tmp_path / "out")[0]["delta_nats"]) < 1e-5  # both passes by one kernel
    factors, old, new = (
        adapter_of(tmp_path / "out"), stored(tiny_llama), stored(tmp_path / "out"),
    )  # fmt: skip
    layer = "model.layers.0.self_attn.q_proj"
    a, b = (factors[f"base_model.model.{layer}.lora_{one}.weight"] for one in "AB")
    update = new[f"{layer}.weight"] - old[f"{layer}.weight"]
    assert (update - 2.0 * (b @ a)).abs().max() < 1e-6
    assert update.abs().max() > 1e-4


def test_gradient_checkpointing_changes_nothing(tiny_llama: Path, tmp_path: Path) -> None:
    """The embeddings are frozen: checkpointing that asks for inputs with gradients would stop."""
    run(tmp_path / "plain", tiny_llama)
    run(tmp_path / "saving", tiny_llama, LORA.model_copy(update={"gradient_checkpointing": True}))
    plain, saving = adapter_of(tmp_path / "plain"), adapter_of(tmp_path / "saving")
    assert all((plain[name] - saving[name]).abs().max() < 1e-6 for name in plain)
    assert any(tensor.abs().max() > 1e-3 for name, tensor in plain.items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("architecture", "head", "some"),
    [
        ("llama", "lm_head", "q_proj"),
        ("phi", "lm_head", "dense"),
        ("gpt_neox", "embed_out", "dense"),
    ],
)
def test_all_linear_is_every_linear_layer_but_the_head(
    architecture: str, head: str, some: str
) -> None:
    model = tiny_model(architecture)
    found = targets(model, Adapter())
    assert some in found
    assert head not in found
    add_adapter(model, Adapter(rank=2), SEED)
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)


@pytest.mark.parametrize("name", ["q_prj", "lm_head", "embed_tokens"])
def test_a_target_that_is_no_linear_layer_is_told_without_reading_weights(
    tiny_llama: Path, tmp_path: Path, name: str
) -> None:
    for file in ("config.json", "generation_config.json"):
        (tmp_path / file).write_bytes((tiny_llama / file).read_bytes())
    model = without_weights(tmp_path)
    assert targets(model, Adapter(target_modules=("q_proj", "v_proj"))) == ["q_proj", "v_proj"]
    with pytest.raises(RecipeError, match=f"no linear layers called '{name}'") as caught:
        targets(model, Adapter(target_modules=("v_proj", name)))
    assert "q_proj" in caught.value.hint


def test_an_adapter_of_another_form_cannot_go_on(tiny_llama: Path, tmp_path: Path) -> None:
    run(tmp_path / "one", tiny_llama, FROZEN)
    other = FROZEN.model_copy(update={"adapter": Adapter(rank=8, alpha=8, previous="frozen")})
    with pytest.raises(RecipeError, match=r"rank is 8, and 4 in the iteration before"):
        run(tmp_path / "two", tiny_llama, other, Before(adapter=tmp_path / "one" / "adapter"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"adapter": {"base_precision": "bfloat16"}}, "forward pass in float32"),
        ({"adapter": {"previous": "frozen", "dropout": 0.1}}, "starting at its reference"),
        ({"adapter": {}, "optimizer_state": "kept"}, "trains a new adapter"),
        ({"adapter": {"target_modules": []}}, "at least 1 item"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TrainingSettings(**wrong)


def test_the_frozen_weights_have_the_precision_of_the_forward_pass() -> None:
    assert TrainingSettings(adapter=Adapter()).base_precision == "float32"
    half = TrainingSettings(adapter=Adapter(), precision="bfloat16")
    assert half.base_precision == "bfloat16"
    assert TrainingSettings(adapter=Adapter(base_precision="nf4")).base_precision == "nf4"


@pytest.mark.slow
def test_other_methods_train_adapters_too(tiny_llama: Path, tmp_path: Path) -> None:
    """Dropout of the adapter's input is on for `sft`, which has no reference."""
    folder = tmp_path / "out"
    folder.mkdir()
    settings = with_adapter(dropout=0.5)
    train(make("sft"), examples(k=1), tiny_llama, settings, folder, SEED, ignore, tmp_path / "w")
    settings = with_adapter()
    (tmp_path / "other").mkdir()
    train(
        make("sft"), examples(k=1), tiny_llama, settings, tmp_path / "other", SEED, ignore,
        tmp_path / "w2",
    )  # fmt: skip
    dropped, plain = metrics(folder), metrics(tmp_path / "other")
    assert dropped[0]["loss"] == pytest.approx(plain[0]["loss"], rel=1e-6)  # nothing to drop yet
    assert dropped[3]["loss"] != pytest.approx(plain[3]["loss"], rel=1e-4)
