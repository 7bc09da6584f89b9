"""Models that no process could hold whole: read by the first alone, and sharded over all of them.

PyTorch's FSDP 2 does it for training and, whatever shards the training, for the reference pass;
DeepSpeed has its own way of loading what it trains.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn

from evalkit.errors import PrerequisiteError
from evalkit.trainers.batches import n_processes

ZERO_3 = 3


def launch_shards() -> Literal["fsdp", "deepspeed"] | None:
    """By what the launch that this process belongs to shards weights; None where it does not.

    None also where FSDP keeps them on the CPU: accelerate shards those that are loaded whole.
    """
    if n_processes() == 1:
        return None
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return None if parse_flag_from_env("FSDP_OFFLOAD_PARAMS") else "fsdp"
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED") and _deepspeed_stage() == ZERO_3:
        return "deepspeed"
    return None


def _deepspeed_config() -> dict[str, Any]:
    """What DeepSpeed itself is told, in a file of its own or by accelerate's config."""
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if file is None:
        stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "0"))
        return {"zero_optimization": {"stage": stage}}
    config: dict[str, Any] = json.loads(Path(file).read_text("utf-8"))
    return config


def _deepspeed_stage() -> int:
    return int(_deepspeed_config().get("zero_optimization", {}).get("stage", 0))


# --- loading ----------------------------------------------------------------------------------


def read_by_first() -> contextlib.AbstractContextManager[None]:
    """A block in which transformers reads weights in the first process of a machine alone.

    The others get zeros, which take no memory until someone writes to them.
    """
    return _told({"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"})


def read_by_all() -> contextlib.AbstractContextManager[None]:
    """A block in which it reads them in every process, whatever the launch config says."""
    return _told({"FSDP_CPU_RAM_EFFICIENT_LOADING": "false"})


@contextlib.contextmanager
def _told(told: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def read_by_deepspeed() -> Iterator[None]:
    """A block in which transformers hands each layer to DeepSpeed (ZeRO-3) as it is made."""
    from transformers.integrations.deepspeed import HfDeepSpeedConfig

    # What has no number yet is not needed to load a model.
    config = {name: value for name, value in _deepspeed_config().items() if value != "auto"}
    kept = HfDeepSpeedConfig({**config, "train_micro_batch_size_per_gpu": 1})
    try:
        yield
    finally:
        forget_deepspeed()
        del kept


def forget_deepspeed() -> None:
    """Makes transformers load models whole again."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


# --- sharding ---------------------------------------------------------------------------------


def empty(model: Any) -> dict[str, Tensor]:
    """Takes the weights out of a transformers model and shards its layers, where they compute.

    Buffers, which are constants, are whole in every process afterwards; `fill` ends it.
    Returns the weights: whole ones in the first process, none in others.
    """
    device = torch.device("cuda", torch.cuda.current_device()) if _on_gpus() else "cpu"
    first = torch.distributed.get_rank() == 0
    weights = dict(model.state_dict()) if first else {}
    buffers = {name: buffer.to(device) for name, buffer in model.named_buffers()}
    model.to("meta")
    for layer in _layers(model):
        _fully_shard(layer)
    model.to_empty(device=device)
    model.tie_weights()  # `to` makes two of one
    for name, buffer in buffers.items():
        torch.distributed.broadcast(buffer, 0)
        model.get_buffer(name).copy_(buffer)
    return weights


def fill(root: nn.Module, model: Any, weights: dict[str, Tensor]) -> None:
    """Shards the rest of an emptied model, and gives each process its part of the weights.

    root: the module that is called, around or equal to the model.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    _fully_shard(root)
    if launch_shards() == "fsdp":
        _refuse_empty_shards(root)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, weights, options=options)


def _on_gpus() -> bool:
    return torch.cuda.is_available()


def _layers(model: Any) -> list[nn.Module]:
    told = os.environ.get("FSDP_TRANSFORMER_CLS_TO_WRAP")
    names = set(told.split(",")) if told else set(model._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def _fully_shard(module: nn.Module) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cuda" if _on_gpus() else "cpu", (n_processes(),))
    keeps = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() == "false"
    fully_shard(module, mesh=mesh, reshard_after_forward=False if keeps else None)


def _refuse_empty_shards(root: nn.Module) -> None:
    """accelerate tells sharded weights apart by their addresses; empty parts have none."""
    short = [
        name
        for name, parameter in root.named_parameters()
        if parameter.requires_grad and parameter.shape[0] < n_processes()
    ]
    if len(short) > 1:
        raise PrerequisiteError(
            f"{short[0]} has fewer rows than there are processes, {n_processes()}: some of them"
            " would hold nothing of it",
            "use --launch ddp, fewer processes, or an adapter of a higher rank",
        )
