"""Cuts training examples into batches, fixed by examples, settings and seed alone.

A kill loses nothing and the reference pass meets the very layouts of training's first
epoch, because both follow this plan.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from evalkit.errors import RecipeError
from evalkit.records import TrainingExample
from evalkit.roles import LogpBatch, ScoringRequest
from evalkit.scoring import PackedBatch, fill_rows, lay_out, split_by_tokens
from evalkit.training_settings import TrainingSettings


class Fitted(NamedTuple):
    """Examples within the length limit, and what that cost.

    truncated: responses cut at the limit; too_long: prompts dropped as they fill it alone.
    """

    examples: list[TrainingExample]
    truncated: int
    too_long: int


class Piece(NamedTuple):
    """The examples of one forward pass.

    indices: of the examples, in the order they were given to `pack`.
    """

    packed: PackedBatch
    targets_N: Tensor
    reference_N: Tensor | None
    example_N: Tensor
    n_tokens_N: Tensor
    indices: tuple[int, ...]
    prompt_ids: tuple[str, ...]

    def logp_batch(self, policy_N: Tensor) -> LogpBatch:
        """What a method's loss is given."""
        return LogpBatch(
            policy_N, self.reference_N, self.targets_N, self.example_N, self.n_tokens_N
        )

    def weight(self, weighting: str) -> float:
        """What the piece's mean loss counts for, in examples or in tokens."""
        return float(len(self.indices) if weighting == "examples" else int(self.n_tokens_N.sum()))


def fit_to_length(examples: Sequence[TrainingExample], max_length: int) -> Fitted:
    """Cuts responses so that prompt and response keep within max_length; prompts are never cut."""
    fitted: list[TrainingExample] = []
    truncated = too_long = 0
    for example in examples:
        room = max_length - len(example.prompt_token_ids)
        if room < 1:
            too_long += 1
            continue
        cut = sum(len(continuation) > room for continuation in example.continuations)
        if cut:
            truncated += cut
            shortened = tuple(continuation[:room] for continuation in example.continuations)
            example = replace(example, continuations=shortened)
        fitted.append(example)
    return Fitted(fitted, truncated, too_long)


def epoch_order(n_examples: int, seed: int, epoch: int) -> list[int]:
    """The order of the examples in one epoch."""
    order = list(range(n_examples))
    random.Random(f"{seed} epoch {epoch}").shuffle(order)
    return order


class EpochSampler(Sampler[int]):
    """Goes through the examples in the order of the current epoch."""

    def __init__(self, n_examples: int, seed: int) -> None:
        self._n_examples, self._seed, self._epoch = n_examples, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each epoch, also of a resumed one."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._n_examples

    def __iter__(self) -> Iterator[int]:
        return iter(epoch_order(self._n_examples, self._seed, self._epoch))


def n_processes() -> int:
    """How many processes train together, as `accelerate launch` or torchrun tells each."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def micro_batch_size_of(settings: TrainingSettings) -> int:
    """Prompts per forward and backward pass of each process.

    Raises:
        RecipeError: the batch cannot be shared out among the processes.
    """
    processes = n_processes()
    size = settings.micro_batch_size or settings.batch_size // processes
    if size == 0 or settings.batch_size % (size * processes):
        raise RecipeError(
            f"a batch of {settings.batch_size} prompts cannot be shared out to {processes}"
            f" processes in parts of {size or 1}",
            "make training.batch_size a multiple of micro_batch_size times processes",
        )
    return size


def pack(examples: Sequence[TrainingExample], token_budget: int, shared: bool) -> list[Piece]:
    """The forward passes over a micro-batch, each within the token budget."""
    requests = [ScoringRequest(e.prompt_token_ids, e.continuations) for e in examples]
    return [
        _piece([examples[i] for i in indices], [requests[i] for i in indices], indices, shared)
        for indices in split_by_tokens(requests, token_budget, shared)
    ]


def _piece(
    examples: list[TrainingExample],
    requests: list[ScoringRequest],
    indices: list[int],
    shared: bool,
) -> Piece:
    references = [e.reference_logps for e in examples]
    known = [value for logps in references if logps is not None for value in logps]
    counts = [len(example.continuations) for example in examples]
    return Piece(
        packed=lay_out(requests, fill_rows(requests), shared),
        targets_N=torch.tensor([t for e in examples for t in e.targets], dtype=torch.float32),
        reference_N=None if None in references else torch.tensor(known, dtype=torch.float32),
        example_N=torch.repeat_interleave(torch.arange(len(examples)), torch.tensor(counts)),
        n_tokens_N=torch.tensor([len(c) for e in examples for c in e.continuations]),
        indices=tuple(indices),
        prompt_ids=tuple(example.prompt_id for example in examples),
    )
