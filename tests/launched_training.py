"""Short trainings one after another, in this process or in each of a launch: for `test_launch.py`.

Run as a script: FOLDER START_UNTIED START_TIED.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from test_trainers_trainer import BASIC, examples, run

from evalkit.trainers.distribution import WAIT

# 14 examples in batches of 4, in small passes: the last batch is short, and ranks differ in passes.
WHOLE = {"batch_size": 4, "token_budget": 50, "optimizer": "sgd", "learning_rate": 0.1}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"max_grad_norm": 0.0},
    "checkpointed": {"gradient_checkpointing": True, "micro_batch_size": 1},
    "saved": {"save_steps": 3, "optimizer": "adamw_torch", "learning_rate": 1e-3},
}
RESUMED_AFTER = 6


def train_all(folder: Path, untied: Path, tied: Path) -> None:
    """Trains every variant into a sub-folder, and `resumed` on from a checkpoint of `saved`."""
    seen: list[int] = []  # steps that the first process has done

    def watch(done: int, total: int, stage: str = "") -> None:
        if stage.startswith("training") and done not in seen:
            seen.append(done)
            if done == RESUMED_AFTER + 1 and len(seen) == done:  # as if it had been killed here
                shutil.copytree(folder / "saved-work", folder / "resumed-work")

    for name, changes in VARIANTS.items():
        settings = BASIC.model_copy(update={**WHOLE, **changes})
        start = tied if name == "tied" else untied
        progress = watch if name == "saved" else lambda done, total, stage="": None
        run(folder / name, start, settings, data=examples(14), progress=progress)
    first = bool(seen)
    seen.clear()
    run(folder / "resumed", untied, settings, data=examples(14), progress=watch)
    assert seen == ([RESUMED_AFTER + 1, RESUMED_AFTER + 2] if first else [])
    if torch.distributed.is_initialized():
        group = torch.distributed.distributed_c10d._get_default_group()
        assert group._get_backend(torch.device("cpu")).options._timeout == WAIT


if __name__ == "__main__":
    train_all(*map(Path, sys.argv[1:]))
