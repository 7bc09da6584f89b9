"""Several processes that train as one: equal shares, equal numbers of passes, whole weights.

accelerate wraps the model (DDP, FSDP2, DeepSpeed) as its config says; here is what makes the
result that of one process, whatever the wrapping.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.utils.data import Sampler

from evalkit.errors import PrerequisiteError
from evalkit.trainers.sharding import forget_deepspeed

# How long a process waits for the slowest, whose part of a reference pass may be the longest by
# minutes: NCCL's own limit is ten. No longer is waited for one that died: its launch ends them all.
WAIT = timedelta(hours=2)


def take_own_gpu() -> None:
    """Makes the GPU of this process of a launch the one that models are loaded on."""
    if "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds only a part of the weights."""
    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def use_launch(accelerator: Accelerator, model: Any) -> None:
    """Completes what `accelerate launch` asked for with FSDP, which it leaves undone on CPUs.

    model: the transformers model, whose layers are gathered one at a time.

    Raises:
        PrerequisiteError: the config asks for FSDP 1.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None and accelerator.distributed_type is DistributedType.MULTI_CPU:
        plugin = _plugin_of_launch()
        if plugin is not None:
            accelerator.state.fsdp_plugin = plugin
            accelerator.state.distributed_type = DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    if plugin is None:
        return
    if plugin.fsdp_version != 2:
        raise PrerequisiteError(
            "the launch config asks for FSDP 1, which PyTorch has given up",
            "set fsdp_config.fsdp_version to 2, or use --launch fsdp2",
        )
    plugin.cpu_ram_efficient_loading = False  # the weights are where they belong
    if plugin.transformer_cls_names_to_wrap is None:
        there = {type(module).__name__ for module in model.modules()}
        plugin.transformer_cls_names_to_wrap = sorted(there & set(model._no_split_modules))


def _plugin_of_launch() -> FullyShardedDataParallelPlugin | None:
    from accelerate.utils import parse_flag_from_env

    return FullyShardedDataParallelPlugin() if parse_flag_from_env("ACCELERATE_USE_FSDP") else None


def unused_parameters(model: torch.nn.Module, output: torch.Tensor) -> list[str]:
    """Names of the trained parameters that a differentiable output does not depend on.

    Such are the towers for images and sound of models that are trained on text; DDP would wait
    for their gradients in vain.
    """
    seen: set[Any] = set()
    used: set[int] = set()
    ahead = [output.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # where a gradient is accumulated
            used.add(id(node.variable))
        ahead += [before for before, _ in node.next_functions]
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in used
    ]


def backward(accelerator: Accelerator, loss: torch.Tensor) -> None:
    """Adds the gradients of a loss that is weighted already to those that are there."""
    deepspeed = accelerator.distributed_type is DistributedType.DEEPSPEED
    accelerator.backward(loss, **({"scale_wrt_gas": False} if deepspeed else {}))


@contextlib.contextmanager
def unsynchronised(accelerator: Accelerator, model: torch.nn.Module) -> Iterator[None]:
    """A block whose backward passes are not the last ones of an optimizer step."""
    state = accelerator.gradient_state
    synchronises = state.sync_gradients
    # DeepSpeed's engine steps after each backward pass that is said to synchronise.
    state._set_sync_gradients(False)
    try:
        with accelerator.no_sync(model):
            yield
    finally:
        state._set_sync_gradients(synchronises)


def most_of_any_rank(accelerator: Accelerator, counts: Sequence[int]) -> list[int]:
    """For each place of equally long lists, the largest count that any process has there."""
    if accelerator.num_processes == 1:
        return list(counts)
    own = torch.tensor(counts, device=accelerator.device)
    most: list[int] = accelerator.gather(own[None]).max(0).values.tolist()
    return most


def whole_model(accelerator: Accelerator, wrapped: torch.nn.Module, model: Any) -> Any:
    """The transformers model inside `wrapped` with all its weights; None on ranks but the first.

    Called by all processes, as sharded weights are gathered from all.

    model: the transformers model that was wrapped, in place.
    """
    if not is_sharded(accelerator):
        return model if accelerator.is_main_process else None
    own = whole_state(accelerator, wrapped, model)
    if own is None:
        return None
    with torch.device("meta"):
        whole = type(model)(model.config)
    whole.load_state_dict(own, assign=True)
    whole.tie_weights()
    whole.generation_config = model.generation_config
    return whole


def whole_state(
    accelerator: Accelerator, wrapped: torch.nn.Module, model: Any
) -> dict[str, torch.Tensor] | None:
    """All weights of the transformers model inside `wrapped`; None on ranks but the first.

    Called by all processes, as sharded weights are gathered from all, once training is over.
    """
    if not is_sharded(accelerator):
        return dict(model.state_dict()) if accelerator.is_main_process else None
    forget_deepspeed()  # what is loaded from here on is loaded whole, and by one process alone
    state = accelerator.get_state_dict(wrapped)
    if not accelerator.is_main_process:
        return None
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}


class EvenSampler(Sampler[int]):
    """A sampler's indices, filled up so that every process gets as many.

    What fills up is the index `padding`, which stands for no example: accelerate would give
    examples out twice instead.
    """

    def __init__(self, sampler: Any, multiple: int, padding: int) -> None:
        self._sampler, self._multiple, self._padding = sampler, multiple, padding

    def __len__(self) -> int:
        return -(-len(self._sampler) // self._multiple) * self._multiple

    def __iter__(self) -> Iterator[int]:
        yield from self._sampler
        yield from [self._padding] * (len(self) - len(self._sampler))
