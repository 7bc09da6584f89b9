"""The loss functions alone: tensors in, one loss per example out, in whatever precision they come.

Delta is a sequence's log-ratio in nats: its summed log-probability under the policy minus that
under the reference. Suffixes: B pairs (or prompts), N responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def logistic_pair_loss(
    delta_chosen_B: Tensor, delta_rejected_B: Tensor, beta: float, label_smoothing: float = 0.0
) -> Tensor:
    """-log sigmoid(beta * (delta_chosen - delta_rejected)), per pair.

    label_smoothing: part of the pairs taken to be the wrong way round.
    Source: DPO (arXiv:2305.18290) eq. 7; SPIN (arXiv:2401.01335) with the human response chosen
    and the model's own rejected, uclaml/SPIN spin/alignment/trainer.py:439-455 at a12ba80;
    smoothing: Mitchell 2023, "A note on DPO with noisy preferences", eq. 3.
    """
    from torch.nn.functional import softplus

    reward_B = beta * (delta_chosen_B - delta_rejected_B)
    if not label_smoothing:
        return softplus(-reward_B)
    return (1 - label_smoothing) * softplus(-reward_B) + label_smoothing * softplus(reward_B)


def hinge_pair_loss(delta_chosen_B: Tensor, delta_rejected_B: Tensor, beta: float) -> Tensor:
    """max(0, 1 - beta * (delta_chosen - delta_rejected)), per pair.

    Source: uclaml/SPIN spin/alignment/trainer.py:439-455 at a12ba80.
    """
    return (1 - beta * (delta_chosen_B - delta_rejected_B)).relu()


def win_probability_error(delta_N: Tensor, win_prob_N: Tensor, eta: float) -> Tensor:
    """(delta - eta * (win_prob - 1/2))^2, per response.

    Source: SPPO (arXiv:2405.00675), its squared-error objective with log Z taken as eta/2.
    """
    return (delta_N - eta * (win_prob_N - 0.5)) ** 2


def win_probability_pair_loss(
    delta_chosen_B: Tensor,
    delta_rejected_B: Tensor,
    prob_chosen_B: Tensor,
    prob_rejected_B: Tensor,
    eta: float,
) -> Tensor:
    """Half the summed errors of the best and the worst response, per pair.

    TRL's `sppo_hard` is not halved: twice this with probabilities 1 and 0.
    Source: uclaml/SPPO sppo/trainer.py:876-883 at 5e61c4e (eta is 1/beta there).
    """
    chosen_B = win_probability_error(delta_chosen_B, prob_chosen_B, eta)
    return (chosen_B + win_probability_error(delta_rejected_B, prob_rejected_B, eta)) / 2


def mean_by_example(values_N: Tensor, example_N: Tensor) -> Tensor:
    """Mean over the responses of each prompt (B)."""
    count = int(example_N[-1]) + 1
    total_B = values_N.new_zeros(count).index_add(0, example_N, values_N)
    size_B = values_N.new_zeros(count).index_add(0, example_N, values_N.new_ones(len(values_N)))
    return total_B / size_B
