"""The role that is a training objective: the data it needs and its loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol

from evalkit.records import PromptGroup, TrainingExample
from evalkit.roles.plugin import Plugin

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class DataNeeds(NamedTuple):
    """What a method must be given: gold responses, own samples (and how many), judged pairs.

    earlier: whose groups it trains on beside this iteration's, of the same stage: none, those of
        the previous iteration, or all.
    """

    gold: bool = False
    rejected: bool = False
    samples: int = 0
    judge: bool = False
    reference: bool = True
    earlier: Literal["none", "previous", "all"] = "none"


class Examples(NamedTuple):
    """A method's training set, and how many prompts were dropped for which reason."""

    examples: list[TrainingExample]
    dropped: dict[str, int]


class LogpBatch(NamedTuple):
    """A batch as a loss sees it, flat over all continuations (N) of all prompts (B) in it.

    policy_N carries the graph. example_N maps each continuation to its prompt, 0..B-1, ascending;
    the continuations of one prompt are in the order of its TrainingExample.
    drawn_N: True where the reference drew the continuation, neither the data nor an older policy.
    """

    policy_N: Tensor
    reference_N: Tensor | None
    targets_N: Tensor
    example_N: Tensor
    n_tokens_N: Tensor
    drawn_N: Tensor


class Statistic(Protocol):
    """Something worth watching, kept as sums: they add up over parts of a batch and over ranks.

    `evalkit.trainers.watching` has means and correlations.
    """

    def sums(self) -> torch.Tensor:
        """The sums of this part of a batch: one dimension, float64, detached."""
        ...

    @staticmethod
    def value(sums: Sequence[float]) -> float | None:
        """What the added-up sums say; None where they say nothing (a mean of no items)."""
        ...


class MethodLoss(NamedTuple):
    """A scalar loss to minimise (mean over the batch), and what is worth watching beside it.

    metrics: for every batch the same names, whatever is in it.
    """

    loss: torch.Tensor
    metrics: Mapping[str, Statistic]


class Method(Plugin, ABC):
    """A training objective: what data it needs, how groups become targets, and the loss.

    self_play: whether the model trains on its own samples, so that a stage makes iterations.
    weighting: what `loss` is a mean over, so that parts of a batch can be put together exactly.
    """

    self_play: ClassVar[bool] = False
    weighting: ClassVar[Literal["examples", "tokens"]] = "examples"

    @abstractmethod
    def needs(self) -> DataNeeds:
        """What must be gathered before training."""

    @abstractmethod
    def examples(self, groups: Sequence[PromptGroup], earlier: Sequence[PromptGroup]) -> Examples:
        """Training examples of this iteration's groups, and of `earlier` ones as `needs` says.

        earlier: oldest first; empty in a stage's first iteration.
        """

    @abstractmethod
    def loss(self, batch: LogpBatch) -> MethodLoss:
        """The loss of one batch."""
