"""Direct preference optimisation, on pairs from the data or on judged samples of the policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from evalkit import roles
from evalkit.preferences import sampled
from evalkit.records import PromptGroup, TrainingExample
from evalkit.roles import DataNeeds, Examples, LogpBatch, Method, MethodLoss
from evalkit.trainers.losses import logistic_pair_loss
from evalkit.trainers.pairs import (
    REQUIRES,
    best_and_worst,
    gold,
    pair_deltas,
    pair_example,
    pair_metrics,
    rejected,
    why_useless,
)

SAMPLES = 5


class DirectPreferenceOptimisation(Method):
    """Logistic loss of the margin between a chosen and a rejected response."""

    class Options(roles.Options):
        """Settings of DPO."""

        beta: Annotated[float, Field(gt=0)] = Field(0.1, description="slope of the loss")
        pairs: Literal["data", "judged"] = Field(
            "data", description="gold against rejected of the data, or best against worst sample"
        )
        samples: Annotated[int, Field(ge=2)] | None = Field(
            None, description=f"responses per prompt where pairs are judged; default {SAMPLES}"
        )
        label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
            0.0, description="part of the pairs taken to be the wrong way round"
        )

        @model_validator(mode="after")
        def _samples_are_for_judging(self) -> Self:
            if self.samples is not None and self.pairs == "data":
                raise ValueError(
                    f"samples {self.samples} would change nothing where pairs come from the data:"
                    " remove it, or add 'pairs: judged'"
                )
            return self

    requires = REQUIRES
    options: Options

    def needs(self) -> DataNeeds:
        if self.options.pairs == "data":
            return DataNeeds(gold=True, rejected=True)
        return DataNeeds(samples=self.options.samples or SAMPLES, judge=True)

    def examples(self, groups: Sequence[PromptGroup], earlier: Sequence[PromptGroup]) -> Examples:
        make = self._given if self.options.pairs == "data" else self._judged
        found: list[TrainingExample] = []
        dropped: Counter[str] = Counter()
        for group in groups:
            example = make(group)
            if isinstance(example, str):
                dropped[example] += 1
            else:
                found.append(example)
        return Examples(found, dict(dropped))

    def _given(self, group: PromptGroup) -> TrainingExample | str:
        chosen, other = gold(group), rejected(group)
        if chosen is None or other is None:
            return "no_gold" if chosen is None else "no_rejected"
        if chosen.token_ids == other.token_ids:
            return "identical_responses"
        return pair_example(group, chosen, other)

    def _judged(self, group: PromptGroup) -> TrainingExample | str:
        useless = why_useless(group)
        if useless is not None:
            return useless
        assert group.win_probs is not None
        best, worst = best_and_worst(group.win_probs)
        responses = sampled(group)
        return pair_example(group, responses[best], responses[worst])

    def loss(self, batch: LogpBatch) -> MethodLoss:
        pairs = pair_deltas(batch)
        losses_B = logistic_pair_loss(
            pairs.delta_chosen_B,
            pairs.delta_rejected_B,
            self.options.beta,
            self.options.label_smoothing,
        )
        return MethodLoss(losses_B.mean(), pair_metrics(batch, self.options.beta))


PLUGIN = DirectPreferenceOptimisation
