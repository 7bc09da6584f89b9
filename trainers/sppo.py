"""SPPO: log-ratios of the policy's own samples are fitted to their win probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from evalkit import roles
from evalkit.preferences import sampled
from evalkit.records import PromptGroup, TrainingExample
from evalkit.roles import DataNeeds, Examples, LogpBatch, Method, MethodLoss, Statistic
from evalkit.trainers.losses import (
    mean_by_example,
    win_probability_error,
    win_probability_pair_loss,
)
from evalkit.trainers.pairs import (
    REQUIRES,
    best_and_worst,
    deltas,
    pair_deltas,
    pair_example,
    pair_metrics,
    why_useless,
)
from evalkit.trainers.watching import Correlation, Mean

if TYPE_CHECKING:
    from torch import Tensor


class SelfPlayPreferenceOptimisation(Method):
    """Squared error between each log-ratio and eta * (win probability - 1/2).

    Pair forms halve the two errors, as the released code does. TRL's `sppo_hard` sums them: its
    loss and gradient are twice those of `form: hard` with eta = 1/beta.
    Source: Wu et al. 2024 (arXiv:2405.00675); pair forms after uclaml/SPPO at 5e61c4e.
    """

    class Options(roles.Options):
        """Settings of SPPO."""

        form: Literal["pair", "pointwise", "single", "hard"] = Field(
            "pair",
            description="pair: best and worst sample with their win probabilities, as released;"
            " pointwise: all samples, as in the paper; single: best and worst with the probability"
            " that one beats the other; hard: best and worst with 1 and 0, half of TRL's sppo_hard",
        )
        eta: Annotated[float, Field(gt=0)] = Field(
            1000.0, description="step size; targets are eta * (win probability - 1/2) nats"
        )
        samples: Annotated[int, Field(ge=2)] = Field(5, description="responses per prompt (K)")
        divide_by_eta: bool = Field(
            False, description="divide the loss by eta: readable, and not scaled for SGD"
        )

    requires = REQUIRES
    options: Options
    self_play = True

    def needs(self) -> DataNeeds:
        return DataNeeds(samples=self.options.samples, judge=True)

    def examples(self, groups: Sequence[PromptGroup], earlier: Sequence[PromptGroup]) -> Examples:
        found: list[TrainingExample] = []
        dropped: Counter[str] = Counter()
        for group in groups:
            example = why_useless(group) or self._example(group)
            if isinstance(example, str):
                dropped[example] += 1
            else:
                found.append(example)
        return Examples(found, dict(dropped))

    def _example(self, group: PromptGroup) -> TrainingExample | str:
        win_probs, responses = group.win_probs, sampled(group)
        assert win_probs is not None
        if self.options.form == "pointwise":
            # Repeated samples stay: how often a response is drawn is its weight in the objective.
            continuations = tuple(response.token_ids for response in responses)
            reasons = tuple(response.finish_reason for response in responses)
            return TrainingExample(
                group.prompt.id, group.prompt_token_ids, continuations, win_probs, reasons
            )
        best, worst = best_and_worst(win_probs)
        targets = (win_probs[best], win_probs[worst])
        if self.options.form == "hard":
            targets = (1.0, 0.0)
        elif self.options.form == "single":
            assert group.pair_probs is not None
            probability = group.pair_probs[best][worst]
            if probability is None:  # each was judged against others, but this pair was not
                return "unjudged"
            targets = (probability, 1 - probability)
        return pair_example(group, responses[best], responses[worst], targets)

    def loss(self, batch: LogpBatch) -> MethodLoss:
        eta, delta_N = self.options.eta, deltas(batch)
        if self.options.form == "pointwise":
            errors_N = win_probability_error(delta_N, batch.targets_N, eta)
            losses_B = mean_by_example(errors_N, batch.example_N)
            metrics: dict[str, Statistic] = {"delta_nats": Mean.of(delta_N)}
        else:
            losses_B = win_probability_pair_loss(*pair_deltas(batch), eta)
            metrics = pair_metrics(batch, 1 / eta)
        metrics |= self._fit(delta_N, batch.targets_N)
        metrics["loss_over_eta2"] = Mean.of(losses_B / eta**2)
        loss = losses_B.mean()
        return MethodLoss(loss / eta if self.options.divide_by_eta else loss, metrics)

    def _fit(self, delta_N: Tensor, win_prob_N: Tensor) -> dict[str, Statistic]:
        """How near log-ratios have come to their targets; near the start these are far off."""
        target_N = self.options.eta * (win_prob_N - 0.5)
        return {
            "target_nats": Mean.of(target_N),
            "target_abs_nats": Mean.of(target_N.abs()),
            "residual_abs_nats": Mean.of((delta_N - target_N).abs()),
            "sign_agreement": Mean.of(delta_N.sign() == target_N.sign()),
            "delta_win_correlation": Correlation(delta_N, win_prob_N),
        }


PLUGIN = SelfPlayPreferenceOptimisation
