"""Cuts training examples into batches, fixed by examples, settings and seed alone.

A kill loses nothing and the reference pass meets the very layouts of training's first
epoch, because both follow this plan.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from evalkit.errors import RecipeError
from evalkit.records import TrainingExample
from evalkit.roles import LogpBatch, ScoringRequest
from evalkit.scoring import BatchLayout, PackedBatch, fill_rows, lay_out, split_by_tokens
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

    examples: what it holds; indices: their places in the order they were given to `pack`.
    counts: False where it only keeps a process busy while others have more passes to do.
    """

    packed: PackedBatch
    targets_N: Tensor
    reference_N: Tensor | None
    example_N: Tensor
    n_tokens_N: Tensor
    examples: tuple[TrainingExample, ...]
    indices: tuple[int, ...]
    counts: bool = True

    def to(self, device: Any) -> Piece:
        """The same piece with its tensors on `device`."""
        reference_N = None if self.reference_N is None else self.reference_N.to(device)
        return self._replace(
            packed=self.packed.to(device),
            targets_N=self.targets_N.to(device),
            reference_N=reference_N,
            example_N=self.example_N.to(device),
            n_tokens_N=self.n_tokens_N.to(device),
        )

    def logp_batch(self, policy_N: Tensor) -> LogpBatch:
        """What a method's loss is given."""
        drawn = [not e.earlier and end != "gold" for e in self.examples for end in e.finish_reasons]
        return LogpBatch(
            policy_N,
            self.reference_N,
            self.targets_N,
            self.example_N,
            self.n_tokens_N,
            torch.tensor(drawn, device=policy_N.device),
        )

    def weight(self, weighting: str) -> float:
        """What the piece's mean loss counts for, in examples or in tokens."""
        return weight_of(self.examples, weighting) if self.counts else 0.0


def fit_to_length(examples: Sequence[TrainingExample], max_length: int) -> Fitted:
    """Cuts responses so that prompt and response keep within max_length; prompts are never cut."""
    fitted: list[TrainingExample] = []
    truncated = too_long = 0
    for example in examples:
        room = max_length - len(example.prompt_token_ids)
        if room < 1:
            too_long += 1
            continue
        cut = tuple(len(continuation) > room for continuation in example.continuations)
        if any(cut):
            truncated += sum(cut)
            shortened = tuple(continuation[:room] for continuation in example.continuations)
            example = replace(example, continuations=shortened, truncated=cut)
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


def share_of(settings: TrainingSettings) -> int:
    """Prompts of a batch that each process trains on.

    Raises:
        RecipeError: the batch cannot be shared out among the processes.
    """
    processes = n_processes()
    if settings.batch_size % processes:
        raise RecipeError(
            f"a batch of {settings.batch_size} prompts cannot be shared out to {processes}"
            " processes",
            "make training.batch_size a multiple of the processes",
        )
    return settings.batch_size // processes


def schedule_steps(settings: TrainingSettings, n_examples: int) -> int:
    """Optimizer steps that the learning-rate schedule is laid out for."""
    return math.ceil(settings.schedule_epochs * math.ceil(n_examples / settings.batch_size))


def weight_of(examples: Sequence[TrainingExample], weighting: str) -> float:
    """What a mean loss over examples counts for, in examples or in tokens."""
    if weighting == "examples":
        return float(len(examples))
    return float(sum(len(ids) for example in examples for ids in example.continuations))


def pack(
    examples: Sequence[TrainingExample],
    token_budget: int,
    layout: BatchLayout,
    micro_batch_size: int | None = None,
) -> list[Piece]:
    """The forward passes over examples, each within the token budget.

    micro_batch_size: largest number of examples in a pass, if there is to be one.
    """
    requests = [ScoringRequest(e.prompt_token_ids, e.continuations) for e in examples]
    size = micro_batch_size or max(1, len(examples))
    groups = (
        [start + i for i in indices]
        for start in range(0, len(examples), size)
        for indices in split_by_tokens(requests[start : start + size], token_budget, layout)
    )
    return [
        _piece([examples[i] for i in group], [requests[i] for i in group], group, layout)
        for group in groups
    ]


def idle_piece(examples: Sequence[TrainingExample], layout: BatchLayout) -> Piece:
    """A short piece that does not count, for a process that others wait for."""
    shortest = min(examples, key=lambda example: len(example.prompt_token_ids))
    return pack([shortest], 1, layout)[0]._replace(counts=False)


def _piece(
    examples: list[TrainingExample],
    requests: list[ScoringRequest],
    indices: list[int],
    layout: BatchLayout,
) -> Piece:
    references = [e.reference_logps for e in examples]
    known = [value for logps in references if logps is not None for value in logps]
    counts = [len(example.continuations) for example in examples]
    return Piece(
        packed=lay_out(requests, fill_rows(requests, layout), layout),
        targets_N=torch.tensor([t for e in examples for t in e.targets], dtype=torch.float32),
        reference_N=None if None in references else torch.tensor(known, dtype=torch.float32),
        example_N=torch.repeat_interleave(torch.arange(len(examples)), torch.tensor(counts)),
        n_tokens_N=torch.tensor([len(c) for e in examples for c in e.continuations]),
        examples=tuple(examples),
        indices=tuple(indices),
    )
