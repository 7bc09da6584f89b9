"""What training does where memory runs out: the same batch again, in smaller forward passes.

A batch is begun again as a whole, so no gradient is counted twice, and its sum changes by
rounding alone.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator

from evalkit.durable import locked, read_json, write_json
from evalkit.errors import PrerequisiteError
from evalkit.trainers.batches import Piece
from evalkit.trainers.distribution import is_sharded

FILE = "token_budget.json"
_RAN_OUT = re.compile(
    r"out of memory|can(?:'|no)t allocate memory|bad_?alloc|bad allocation|ALLOC_FAILED",
    re.IGNORECASE,
)


class TokenBudget:
    """Padded tokens per forward pass at each step; lowered where memory runs out.

    file: in it is kept from which step on which budget holds, so that a resumed run lays every
        batch out as the attempt before it did, and ends in the same bytes.
    """

    def __init__(self, tokens: int, file: Path | None) -> None:
        self._file = file
        self._since: dict[int, int] = {0: tokens}
        if file is not None:
            self._since |= {int(step): kept for step, kept in read_json(file, default={}).items()}

    def at(self, step: int) -> int:
        """The budget of a step, counted from 0."""
        return self._since[max(first for first in self._since if first <= step)]

    def lower(self, step: int, tokens: int) -> None:
        """Keeps a smaller budget for this step and all after it."""
        self._since = {first: kept for first, kept in self._since.items() if first < step}
        self._since[step] = tokens
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._file):  # every rank keeps the same
            write_json(self._file, {str(first): kept for first, kept in self._since.items()})


def smaller_budget(budget: int, failed: Piece, recomputing: bool = False) -> int:
    """Half of what a pass that failed took; 0 if it held one example, which cannot be halved.

    recomputing: whether passes over the budget take less memory, so that even that one may fit.
    """
    slots = failed.packed.n_slots
    may_fit = len(failed.examples) > 1 or (recomputing and slots <= budget)
    return min(budget, slots) // 2 if may_fit else 0


def least_of_any_rank(accelerator: Accelerator, value: int) -> int:
    """The least value that any process gives; processes with sharded weights are not asked."""
    if accelerator.num_processes == 1 or is_sharded(accelerator):
        return value
    own = torch.tensor([value], device=accelerator.device)
    return int(accelerator.gather(own).min())


def too_large(failed: Piece | None) -> PrerequisiteError:
    """The error of an example that takes more memory than there is, even alone."""
    if failed is None:
        what = "an example"
    else:
        [example] = failed.examples
        tokens = len(example.prompt_token_ids) + sum(map(len, example.continuations))
        what = f"prompt {example.prompt_id} with its responses ({tokens} tokens)"
    return PrerequisiteError(
        f"there is not enough memory: {what} does not fit into a forward pass even alone",
        "leave training.gradient_checkpointing at auto, lower training.max_length, or end other"
        " programs; the same command then goes on",
    )


def others_wait(where: str, tokens: int) -> PrerequisiteError:
    """The error of a pass that cannot be made again, as sharded weights are gathered in each."""
    return PrerequisiteError(
        f"memory ran out {where}, in which other processes wait for this one",
        f"the same command goes on with passes of at most {tokens} tokens",
    )


def ran_out_of_memory(work: Callable[[], None]) -> bool:
    """Does `work`; whether memory ran out in it, and then what it held is free again."""
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return False
    # Outside the handler: until it ends, the traceback holds every tensor of the failed pass.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch, of whatever device, says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_RAN_OUT.search(str(error)))
