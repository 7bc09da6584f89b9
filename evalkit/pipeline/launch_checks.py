"""What speaks against training a recipe in several processes, before any work is done."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from evalkit.durable import read_json
from evalkit.errors import Problem
from evalkit.pipeline import launching
from evalkit.pipeline.step import Launch
from evalkit.recipe_document import KeyPath
from evalkit.recipe_file import RecipeFile

SHARDS = ("FSDP", "DEEPSPEED")
WEIGHT_BYTES = 4  # float32, of each weight and of its gradient
# Of each weight, what an optimizer keeps of it beside: moments in float32.
OPTIMIZER_BYTES = {"adamw_torch": 8, "rmsprop": 4, "sgd": 0, "adafactor": 0}


def check(launch: Launch, file: RecipeFile) -> Iterator[Problem]:
    """What speaks against training this recipe so, on this machine."""
    for number, stage in enumerate(file.recipe.stages):
        if stage.training.batch_size % launch.processes:
            key = ("stages", number, "training", "batch_size")
            yield Problem(
                f"{file.where(key)}  {'.'.join(map(str, key))}",
                f"a batch of {stage.training.batch_size} prompts cannot be shared out to"
                f" {launch.processes} processes",
                "make it a multiple of --processes",
            )
    config = launching.read_config(Path(launch.config))
    kind = config["distributed_type"]
    if kind == "FSDP":
        yield from _adapters_too_thin(file, launch.processes)
    if kind == "DEEPSPEED" and find_spec("deepspeed") is None:
        hint = "pip install deepspeed, or use --launch fsdp2, which shards as much"
        yield Problem("--launch", "the Python package 'deepspeed' is not installed", hint, True)
    if kind == "DEEPSPEED":
        yield from _precision_of_deepspeed(launching.deepspeed_file(launch, config))
        yield from _beyond_deepspeed(file)
    gpus = len(_gpu_memory())
    if gpus and kind == "MULTI_CPU":
        hint = "use --launch ddp, which trains on them"
        yield Problem("--launch", f"the config trains on CPUs, and {gpus} GPUs are here", hint)
    elif gpus and gpus < launch.processes:
        found = f"{launch.processes} processes need a GPU each, and {gpus} are here"
        yield Problem("--processes", found, f"use --processes {gpus}", True)
    else:
        yield from _memory(file, launch.processes, kind)


def _beyond_deepspeed(file: RecipeFile) -> Iterator[Problem]:
    """What needs weights or optimizer's state in a form that DeepSpeed does not keep them in."""
    for number, stage in enumerate(file.recipe.stages):
        settings = [stage.of_iteration(position).training for position in range(stage.iterations)]
        found = {
            "optimizer_state": any(one.optimizer_state == "kept" for one in settings),
            "adapter.base_precision": any(one.base_precision == "nf4" for one in settings),
        }
        for name in (name for name, is_asked in found.items() if is_asked):
            key: KeyPath = ("stages", number, "training", *name.split("."))
            yield Problem(
                f"{file.where(key)}  {'.'.join(map(str, key))}",
                "cannot be had with DeepSpeed, which keeps weights and state in a form of its own",
                "use --launch fsdp2, which shards as much",
            )


def _adapters_too_thin(file: RecipeFile, processes: int) -> Iterator[Problem]:
    """Adapters of which some process would get no row: FSDP shards by rows."""
    for number, stage in enumerate(file.recipe.stages):
        settings = stage.training
        too_thin = settings.adapter is not None and settings.adapter.rank < processes
        if too_thin and settings.base_precision != "nf4":
            key: KeyPath = ("stages", number, "training", "adapter", "rank")
            yield Problem(
                f"{file.where(key)}  {'.'.join(map(str, key))}",
                f"some of {processes} processes would hold nothing of an adapter of so low a rank",
                f"use --launch ddp, or a rank of {processes} or more",
            )


def _precision_of_deepspeed(file: Path | None) -> Iterator[Problem]:
    """Weights that DeepSpeed would keep in 16 bits, of which the reference knows nothing."""
    if file is None:
        return
    told = read_json(file) or {}
    for kind in ("bf16", "fp16"):
        if told.get(kind, {}).get("enabled", False) is True:
            yield Problem(
                f"--launch: {file}",
                f"{kind}.enabled: true would train weights in 16 bits",
                f"leave {kind} out: the recipe's training.precision decides what passes compute in",
            )


# --- memory -----------------------------------------------------------------------------------


def _memory(file: RecipeFile, processes: int, kind: str) -> Iterator[Problem]:
    """What cannot fit, by what training holds at least: weights, gradients, optimizer's state.

    Activations come on top; token budgets give way to them, down to one example.
    """
    base = file.recipe.base.model
    if base is None or not Path(base).is_dir():
        return
    weights = stored_weights(Path(base))
    gpus, host = _gpu_memory(), _host_memory()
    if kind in SHARDS and WEIGHT_BYTES * weights > host:
        yield Problem(
            "--launch",
            f"the first process reads {base} in float32, {_gb(WEIGHT_BYTES * weights)}, and this"
            f" machine has {_gb(host)} of memory",
            "use a machine with more, or a smaller base",
            True,
        )
    for number, stage in enumerate(file.recipe.stages):
        if stage.training.adapter is not None:
            continue
        each = 2 * WEIGHT_BYTES + OPTIMIZER_BYTES[stage.training.optimizer]
        needs = each * weights // (processes if kind in SHARDS else 1)
        has = min(gpus[:processes]) if gpus else host // processes
        if needs > has:
            key: KeyPath = ("stages", number, "training")
            yield Problem(
                f"{file.where(key)}  {'.'.join(map(str, key))}",
                f"each process holds at least {_gb(needs)} of weights, gradients and optimizer's"
                f" state, and has {_gb(has)}",
                "train an adapter (training.adapter)" if kind in SHARDS else "use --launch fsdp2",
                True,
            )


def stored_weights(folder: Path) -> int:
    """How many numbers a checkpoint's safetensors files hold, by their headers alone."""
    from safetensors import safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "np") as tensors:
            names = tensors.keys()
            total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
    return total


def _gpu_memory() -> list[int]:
    """Bytes of each GPU."""
    import torch

    count = torch.cuda.device_count()
    return [torch.cuda.get_device_properties(number).total_memory for number in range(count)]


def _host_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.3g} GB"
