"""What a person watches while a model trains: statistics that stay exact over parts and ranks.

Every one is kept as sums, which micro-batches and ranks add to, so that it is the same however
a step's batch was cut up. Suffixes: N continuations, B prompts or pairs, S tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.records import TrainingExample
from evalkit.roles import LogpBatch, Statistic

if TYPE_CHECKING:
    from torch import Tensor

    from evalkit.scoring import ContinuationLogps, PackedBatch

TOKENS_PER_STEP = "tokens_per_step"
# What tells how an iteration went, of those that its method has.
OF_AN_ITERATION = (
    "loss_over_eta2",
    "accuracy",
    "opponent_accuracy",
    "saturated",
    "chosen_fell",
    "delta_win_correlation",
    "sign_agreement",
    "kl_k1_nats",
    "kl_k3_per_token_nats",
)
# Beyond these parts of all pairs, people are told.
_MOST_FELL, _MOST_SATURATED = 0.5, 0.9


class Mean(NamedTuple):
    """The mean of values that add up to `total`, `weight` being how many they are."""

    total: Tensor | float
    weight: Tensor | float

    @classmethod
    def of(cls, values: Tensor) -> Mean:
        """The mean of these values, each of which counts once."""
        return cls(values.detach().double().sum(), values.numel())

    @classmethod
    def within(cls, values: Tensor, chosen: Tensor) -> Mean:
        """The mean of the values at which the mask `chosen` is 1."""
        return cls((values.detach() * chosen).double().sum(), chosen.sum())

    def sums(self) -> Tensor:
        """Total and weight."""
        import torch

        total, weight = (torch.as_tensor(part, dtype=torch.float64) for part in self)
        device = total.device if total.device.type != "cpu" else weight.device
        return torch.stack([total.detach().to(device), weight.to(device)])

    @staticmethod
    def value(sums: Sequence[float]) -> float | None:
        """Total by weight; None without any."""
        total, weight = sums
        return total / weight if weight else None


class Correlation(NamedTuple):
    """Pearson's correlation of two quantities, item by item."""

    x: Tensor
    y: Tensor

    def sums(self) -> Tensor:
        """Items, and the sums of x, y, x^2, y^2 and xy."""
        import torch

        x, y = self.x.detach().double(), self.y.detach().double()
        return torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y]).sum(-1)

    @staticmethod
    def value(sums: Sequence[float]) -> float | None:
        """From -1 to 1; None where one of the quantities does not vary."""
        n, x, y, xx, yy, xy = sums
        spread = (n * xx - x * x, n * yy - y * y)
        # Rounding leaves a little of a variance that is zero.
        if n < 2 or spread[0] <= 1e-12 * n * xx or spread[1] <= 1e-12 * n * yy:
            return None
        return (n * xy - x * y) / math.sqrt(spread[0]) / math.sqrt(spread[1])


class Tally:
    """Adds up statistics by name until they are drained into a line of metrics."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._value_of: dict[str, Callable[[Sequence[float]], float | None]] = {}

    def add(self, statistics: Mapping[str, Statistic], counts: bool = True) -> None:
        """Adds one part of a batch; only its names if it does not count."""
        for name, statistic in statistics.items():
            sums = statistic.sums().to(self._device) * counts
            self._sums[name] = sums if name not in self._sums else self._sums[name] + sums
            self._value_of[name] = statistic.value

    def drain(self, over_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The value of each statistic that says something, by name; then begins anew.

        over_ranks: adds a vector up over all ranks; every rank has tallied the same names.
        """
        import torch

        names = sorted(self._sums)
        sizes = [len(self._sums[name]) for name in names]
        summed = over_ranks(torch.cat([self._sums[name] for name in names])).cpu()
        found: dict[str, float] = {}
        for name, sums in zip(names, summed.split(sizes), strict=True):
            value = self._value_of[name](sums.tolist())
            if value is not None:
                found[name] = value
        self._sums.clear()
        return found


def responses_watched(
    examples: Sequence[TrainingExample], batch: LogpBatch, scored: ContinuationLogps
) -> dict[str, Statistic]:
    """What every method has to say of a forward pass: lengths, endings, tokens, KL.

    KL(reference || policy) is estimated on what the reference drew: not on responses of the data,
    nor on those that an older policy gave to prompts of an earlier iteration.
    """
    policy_N, drawn_N = batch.policy_N.detach(), batch.drawn_N
    sampled_N = _mask(examples, policy_N, lambda reason: reason != "gold")
    cut_N = policy_N.new_tensor([cut for e in examples for cut in e.truncated or _none(e)])
    unfinished_N = _mask(examples, policy_N, lambda reason: reason == "length")
    found: dict[str, Statistic] = {
        "response_tokens": Mean.of(batch.n_tokens_N),
        "truncated": Mean.of(cut_N),
        "unfinished": Mean.within(unfinished_N, sampled_N),
        "drawn_by_reference": Mean.within(drawn_N, sampled_N),
        "token_accuracy": Mean.of(scored.greedy_S.to(policy_N.dtype)),
    }
    if scored.entropy_S is not None:
        found["entropy_nats"] = Mean.of(scored.entropy_S)
    if batch.reference_N is not None:
        found["kl_k1_nats"] = Mean.within(batch.reference_N - policy_N, drawn_N)
    references = [e.reference_token_logps for e in examples]
    if None not in references:
        tokens = [value for one in references for logps in one or () for value in logps]
        drawn_S = drawn_N.repeat_interleave(scored.n_tokens_N, output_size=len(tokens))
        found["kl_k3_per_token_nats"] = Mean.within(
            k3(scored.token_logp_S, scored.token_logp_S.new_tensor(tokens)), drawn_S
        )
    return found


def k3(policy_S: Tensor, reference_S: Tensor) -> Tensor:
    """An estimate of KL(reference || policy) from each token that the reference drew; never < 0.

    Source: Schulman 2020, "Approximating KL divergence", estimator k3.
    """
    d_S = (policy_S - reference_S).double()
    return d_S.expm1() - d_S


def work_watched(examples: Sequence[TrainingExample], packed: PackedBatch) -> dict[str, Statistic]:
    """What a forward pass computes: tokens of prompts and responses, and slots of padding."""
    tokens = sum(len(e.prompt_token_ids) + sum(map(len, e.continuations)) for e in examples)
    return {
        "padding_factor": Mean(float(packed.n_slots), packed.n_tokens),
        TOKENS_PER_STEP: Mean(float(tokens), 0.0),  # `step_watched` counts the steps
    }


def step_watched(grad_norm: float, limit: float, n_ranks: int) -> dict[str, Statistic]:
    """What an optimizer step says of its gradient, whose norm was limited to `limit` (0: never)."""
    return {
        "grad_norm": Mean(grad_norm, 1.0),
        "clipped": Mean(float(0 < limit < grad_norm), 1.0),
        TOKENS_PER_STEP: Mean(0.0, 1 / n_ranks),
    }


def over_last_epoch(lines: Sequence[Mapping[str, float]], epoch_steps: int) -> dict[str, float]:
    """What tells how an iteration went: means over the lines of the last pass over the data.

    epoch_steps: optimizer steps of a pass.
    """
    last = [line for line in lines if line["step"] > lines[-1]["step"] - epoch_steps]
    found = {name: [line[name] for line in last if name in line] for name in OF_AN_ITERATION}
    return {name: math.fsum(values) / len(values) for name, values in found.items() if values}


def alarms(over_epoch: Mapping[str, float]) -> list[str]:
    """What the figures of an iteration warn of, in words."""
    found = []
    fell, saturated = (over_epoch.get(name, 0.0) for name in ("chosen_fell", "saturated"))
    if fell > _MOST_FELL:
        found.append(
            f"{fell:.0%} of the chosen responses became less likely (chosen_fell, mean of the last"
            " pass over the data): the loss is met by pushing both sides down"
        )
    if saturated > _MOST_SATURATED:
        found.append(
            f"{saturated:.0%} of the pairs teach next to nothing any more (saturated, mean of the"
            " last pass over the data): train for fewer epochs, and go on to the next iteration"
        )
    return found


def _mask(
    examples: Sequence[TrainingExample], like: Tensor, holds: Callable[[str], bool]
) -> Tensor:
    return like.new_tensor([holds(reason) for e in examples for reason in e.finish_reasons])


def _none(example: TrainingExample) -> Sequence[bool]:
    return (False,) * len(example.continuations)
