"""Short trainings one after another, in this process or in each of a launch: for `test_launch.py`.

Run as a script: FOLDER VARIANT=START..., where all that are not named start from `plain`'s.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from test_trainers_trainer import BASIC, examples, run

from evalkit.loading import load_model
from evalkit.trainers import sharding
from evalkit.trainers.distribution import WAIT
from evalkit.training_settings import Adapter

# 14 examples in batches of 4, in small passes: the last batch is short, and ranks differ in passes.
WHOLE = {"batch_size": 4, "token_budget": 50, "optimizer": "sgd", "learning_rate": 0.1}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"max_grad_norm": 0.0},
    "multimodal": {},
    "checkpointed": {"gradient_checkpointing": True, "micro_batch_size": 1},
    "bfloat16": {"precision": "bfloat16"},
    "adapter": {"adapter": Adapter(rank=4, alpha=64)},
    "nf4": {"adapter": Adapter(rank=4, alpha=64, base_precision="nf4")},
    "saved": {"save_steps": 3, "optimizer": "adamw_torch", "learning_rate": 1e-3},
}
RESUMED_AFTER = 6


def variants(launch: str = "") -> list[str]:
    """Those that can be trained here, by the launch named or that of this process."""
    by_deepspeed = launch == "deepspeed_zero3" or "ACCELERATE_USE_DEEPSPEED" in os.environ
    lacks_nf4 = by_deepspeed or find_spec("bitsandbytes") is None
    return [name for name in VARIANTS if not (name == "nf4" and lacks_nf4)]


def train_all(folder: Path, starts: dict[str, Path]) -> None:
    """Trains every variant into a sub-folder, and `resumed` on from a checkpoint of `saved`."""
    seen: list[int] = []  # steps that the first process has done

    def watch(done: int, total: int, stage: str = "") -> None:
        if stage.startswith("training") and done not in seen:
            seen.append(done)
            if done == RESUMED_AFTER + 1 and len(seen) == done:  # as if it had been killed here
                shutil.copytree(folder / "saved-work", folder / "resumed-work")

    for name in variants():
        settings = BASIC.model_copy(update={**WHOLE, **VARIANTS[name]})
        start = starts.get(name, starts["plain"])
        progress = watch if name == "saved" else lambda done, total, stage="": None
        run(folder / name, start, settings, data=examples(14), progress=progress)
    first = bool(seen)
    seen.clear()
    run(folder / "resumed", starts["plain"], settings, data=examples(14), progress=watch)
    assert seen == ([RESUMED_AFTER + 1, RESUMED_AFTER + 2] if first else [])
    if torch.distributed.is_initialized():
        group = torch.distributed.distributed_c10d._get_default_group()
        assert group._get_backend(torch.device("cpu")).options._timeout == WAIT


def check_sharding(start: Path) -> None:
    """One process reads the weights, all get their part of them, and no process holds more."""
    with sharding.read_by_first():
        model = load_model(start, dtype="float32", device="cpu").model
    stored = load_model(start, dtype="float32", device="cpu").model.state_dict()
    first = torch.distributed.get_rank() == 0
    assert all(bool(value.any()) == first for value in model.state_dict().values())
    sharding.fill(model, model, sharding.empty(model))
    for name, shard in model.state_dict().items():
        assert shard.to_local().numel() <= -(-shard.numel() // 2), name
        assert shard.full_tensor().equal(stored[name]), name


if __name__ == "__main__":
    main_folder = Path(sys.argv[1])
    checkpoints = {name: Path(path) for name, path in (w.split("=", 1) for w in sys.argv[2:])}
    train_all(main_folder, checkpoints)
    if sharding.launch_shards():
        check_sharding(checkpoints["plain"])
