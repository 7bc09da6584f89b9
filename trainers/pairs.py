"""What the methods share: what they require, pairs out of groups, pairs out of a flat batch.

Responses of a group stand in this order: those the policy sampled, then (finish reason
`gold`) the prompt's gold response where there is one, then its rejected one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from evalkit.preferences import sampled
from evalkit.records import PromptGroup, Response, TrainingExample
from evalkit.roles import LogpBatch, Statistic
from evalkit.trainers.watching import Mean

if TYPE_CHECKING:
    from torch import Tensor

# Packages that every method trains with, and the extra that brings them.
REQUIRES = (("torch", "train"), ("transformers", "train"), ("accelerate", "train"))
TIE = 1e-9  # win probabilities closer than this are equal but for rounding


class BestWorst(NamedTuple):
    """Indices of the likeliest winner and loser among a group's sampled responses."""

    best: int
    worst: int


class PairDeltas(NamedTuple):
    """Log-ratios (nats) and targets of the two responses of each pair."""

    delta_chosen_B: Tensor
    delta_rejected_B: Tensor
    target_chosen_B: Tensor
    target_rejected_B: Tensor


def gold(group: PromptGroup) -> Response | None:
    """The given response of a prompt, None where the data has none."""
    given = _given(group)
    return given[0] if given and group.prompt.gold is not None else None


def rejected(group: PromptGroup) -> Response | None:
    """The response that the data calls worse, None where it has none."""
    given = _given(group)
    return given[-1] if given and group.prompt.rejected is not None else None


def _given(group: PromptGroup) -> list[Response]:
    return [r for r in group.responses if r.finish_reason == "gold"]


def why_useless(group: PromptGroup) -> str | None:
    """Why judged samples of a prompt say nothing, None if they do say something."""
    responses = sampled(group)
    if len({response.text for response in responses}) < 2:
        return "identical_responses"
    if group.win_probs is None:
        return "unjudged"
    if max(group.win_probs) - min(group.win_probs) < TIE:
        return "tied"
    return None


def best_and_worst(win_probs: Sequence[float]) -> BestWorst:
    """The first index of the highest, and of the lowest, win probability."""
    return BestWorst(win_probs.index(max(win_probs)), win_probs.index(min(win_probs)))


def pair_example(
    group: PromptGroup,
    chosen: Response,
    other: Response,
    targets: tuple[float, float] = (1.0, 0.0),
) -> TrainingExample:
    """A training example of a chosen and a rejected response, in this order."""
    return TrainingExample(
        group.prompt.id,
        group.prompt_token_ids,
        (chosen.token_ids, other.token_ids),
        targets,
        (chosen.finish_reason, other.finish_reason),
    )


def deltas(batch: LogpBatch) -> Tensor:
    """Log-ratio to the reference (N), in nats."""
    assert batch.reference_N is not None, "this method needs reference log-probabilities"
    return batch.policy_N - batch.reference_N


def pair_deltas(batch: LogpBatch) -> PairDeltas:
    """A flat batch of pairs, taken apart."""
    delta_B2 = deltas(batch).view(-1, 2)
    target_B2 = batch.targets_N.view(-1, 2)
    return PairDeltas(delta_B2[:, 0], delta_B2[:, 1], target_B2[:, 0], target_B2[:, 1])


def pair_metrics(batch: LogpBatch, beta: float) -> dict[str, Statistic]:
    """What to watch of pairs: log-ratios and log-probabilities (nats), rewards (beta times Delta).

    `accuracy` counts a pair only where the chosen response gained more, so it starts at 0.
    """
    pairs = pair_deltas(batch)
    margin_B = pairs.delta_chosen_B - pairs.delta_rejected_B
    found: dict[str, Statistic] = {
        "margin_nats": Mean.of(margin_B),
        "reward_margin": Mean.of(beta * margin_B),
        "accuracy": Mean.of(margin_B > 0),
        "chosen_fell": Mean.of(pairs.delta_chosen_B < 0),
    }
    for place, side in enumerate(("chosen", "rejected")):
        logp_B = batch.policy_N.view(-1, 2)[:, place]
        n_tokens_B = batch.n_tokens_N.view(-1, 2)[:, place]
        found |= {
            f"delta_{side}_nats": Mean.of(pairs[place]),
            f"reward_{side}": Mean.of(beta * pairs[place]),
            f"logp_{side}_nats": Mean.of(logp_B),
            f"logp_{side}_per_token_nats": Mean(logp_B.detach().double().sum(), n_tokens_B.sum()),
            f"response_tokens_{side}": Mean.of(n_tokens_B),
        }
    return found
