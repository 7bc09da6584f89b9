"""Low-rank adapters (LoRA, QLoRA) put into a transformers model, which stays the module itself.

No second model is needed as the reference: it is the frozen weights with the adapter that
training begins with, none or that of the iteration before, scored once before the first step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from evalkit.errors import RecipeError, did_you_mean, missing_extra
from evalkit.loading import file_digest, load_model
from evalkit.training_settings import Adapter, TrainingSettings

_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."  # before each name in peft's files
_NAME = "default"  # of the one adapter in a model, as peft calls it
_SHAPE = {"r": "rank", "lora_alpha": "alpha", "target_modules": "target_modules"}


# --- before training --------------------------------------------------------------------------


def frozen_model(start: str | Path, settings: TrainingSettings, **loading: Any) -> Any:
    """The checkpoint in folder `start` with weights in `base_precision`, to be trained around.

    With nf4 every linear layer but the head is stored in 4 bits, with a second quantization of
    its scales; the rest, and all arithmetic, has `settings.precision`.
    Source: Dettmers et al. 2023 (arXiv:2305.14314), sections 3 and 5.

    Raises:
        PrerequisiteError: bitsandbytes is not installed.
    """
    precision = settings.base_precision
    if precision != "nf4":
        return load_model(start, dtype=precision, **loading).model
    try:
        import bitsandbytes
    except ImportError as error:
        raise missing_extra("bitsandbytes", "qlora") from error
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, settings.precision),
    )
    model = load_model(start, dtype=settings.precision, quantization=quantization, **loading).model
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            # On some CPUs, passes without gradients would take another kernel, in bfloat16: the
            # reference would be computed otherwise than the policy.
            module.support_avx512bf16_for_cpu = False
    return model


def add_adapter(model: Any, adapter: Adapter, seed: int, before: Path | None = None) -> None:
    """Puts an adapter into the model and freezes everything else; its weights are float32.

    A new one changes nothing at first: one of its two factors is zero.
    Source: Hu et al. 2021 (arXiv:2106.09685), section 4.1.

    seed: of the other factor.
    before: folder of an adapter that goes on training instead.

    Raises:
        RecipeError: a target that the model does not have, or `before` has another form.
        PrerequisiteError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise missing_extra("peft", "train") from error
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets(model, adapter),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, _NAME)
    for parameter in model.parameters():
        if parameter.requires_grad:  # of frozen bfloat16 layers they would be bfloat16, too
            parameter.data = parameter.data.float()
    if before is not None:
        _load(model, before)


def targets(model: Any, adapter: Adapter) -> list[str]:
    """Names of the layers that get an update, as the last part of their whole names.

    Raises:
        RecipeError: a name stands for none of the model's linear layers.
    """
    known = _linear_names(model)
    if adapter.target_modules == "all-linear":
        return known
    for name in adapter.target_modules:
        if name not in known:
            raise RecipeError(
                f"the model has no linear layers called '{name}' (its head stays as it is)",
                did_you_mean(name, known),
            )
    return sorted(adapter.target_modules)


def _linear_names(model: Any) -> list[str]:
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, (nn.Linear, Conv1D)) and module is not head
        }
    )


def _load(model: Any, folder: Path) -> None:
    """Sets the adapter in the model to the one in a folder, which must be of the same form."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    wanted = _config(model)
    found = json.loads((folder / _CONFIG).read_text("utf-8"))
    for key, name in _SHAPE.items():
        if found[key] != wanted[key]:
            raise RecipeError(
                f"training.adapter.{name} is {wanted[key]}, and {found[key]} in the iteration"
                " before, whose adapter goes on training (previous: frozen)",
                f"give both the same {name}, or use previous: merged",
            )
    stored = load_file(folder / _WEIGHTS)
    set_peft_model_state_dict(
        model, {name.removeprefix(_PREFIX): tensor for name, tensor in stored.items()}, _NAME
    )


def _config(model: Any) -> dict[str, Any]:
    """The adapter's settings in peft's words, sets in order."""
    settings = model.peft_config[_NAME].to_dict()
    return {key: sorted(v) if isinstance(v, set) else v for key, v in settings.items()}


def adapter_digest(folder: Path) -> str:
    """sha256 (hex) of an adapter's weights."""
    return file_digest(folder / _WEIGHTS)


def trainable_parameters(model: nn.Module) -> int:
    """How many numbers training changes."""
    # DeepSpeed (ZeRO-3) leaves nothing in a parameter but how much of it there was.
    numbers = (getattr(p, "ds_numel", p.numel()) for p in model.parameters() if p.requires_grad)
    return sum(int(number) for number in numbers)


# --- after training ---------------------------------------------------------------------------


def save_adapter(model: Any, state: Mapping[str, Tensor], folder: Path, base_name: str) -> None:
    """Writes the adapter of a transformers model into a new `folder`, in peft's own format.

    state: the model's weights, or at least those of the adapter, under the model's names.
    base_name: the checkpoint that it belongs to, as readers of the files know it.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    tensors = get_peft_model_state_dict(model, state_dict=dict(state), adapter_name=_NAME)
    ready = {_PREFIX + name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    folder.mkdir()
    save_file(ready, folder / _WEIGHTS, metadata={"format": "pt"})
    config = {
        **_config(model),
        "base_model_name_or_path": base_name,
        "inference_mode": True,
    }
    (folder / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


class Merged(NamedTuple):
    """A model with its adapter merged, in float32.

    base_error: of 4-bit weights that the adapter was trained around, how far they were from those
        it is merged into: the norm of the difference over the norm of the weights. The policy
        that was trained and the merged one differ by that much. None of other precisions.
    """

    model: Any
    base_error: float | None


def merged(trained: Any, start: str | Path, folder: Path) -> Merged:
    """The checkpoint in `start` with the adapter in `folder` added to its weights.

    These are the weights as stored, whatever `base_precision` they had while training. Rounding
    is left to the writing, once: the sum of a bfloat16 weight and a small update would lose it.

    trained: the model that the adapter was trained in.
    """
    from peft import PeftModel

    model = load_model(start, dtype="float32", device="cpu").model
    error = _base_error(trained, model)
    return Merged(PeftModel.from_pretrained(model, folder).merge_and_unload(), error)


def _base_error(trained: Any, model: Any) -> float | None:
    layers = {name: one for name, one in trained.named_modules() if hasattr(one, "quant_state")}
    if not layers:
        return None
    from bitsandbytes.functional import dequantize_4bit

    off = whole = 0.0
    for name, layer in layers.items():
        weight = model.get_submodule(name.removesuffix(".base_layer")).weight.data
        used = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float().cpu()
        off += float((used - weight).double().square().sum())
        whole += float(weight.double().square().sum())
    return (off / whole) ** 0.5
