"""Supervised fine-tuning: the given response of each prompt becomes likelier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal

from evalkit.records import PromptGroup, TrainingExample
from evalkit.roles import DataNeeds, Examples, LogpBatch, Method, MethodLoss
from evalkit.trainers.pairs import REQUIRES, gold


class SupervisedFineTuning(Method):
    """Mean negative log-probability per token of the gold responses; prompts are not scored."""

    requires = REQUIRES
    weighting: ClassVar[Literal["examples", "tokens"]] = "tokens"

    def needs(self) -> DataNeeds:
        return DataNeeds(gold=True, reference=False)

    def examples(self, groups: Sequence[PromptGroup], earlier: Sequence[PromptGroup]) -> Examples:
        found: list[TrainingExample] = []
        dropped: Counter[str] = Counter()
        for group in groups:
            response = gold(group)
            if response is None:
                dropped["no_gold"] += 1
                continue
            found.append(
                TrainingExample(
                    group.prompt.id,
                    group.prompt_token_ids,
                    (response.token_ids,),
                    (1.0,),
                    (response.finish_reason,),
                )
            )
        return Examples(found, dict(dropped))

    def loss(self, batch: LogpBatch) -> MethodLoss:
        return MethodLoss(-batch.policy_N.sum() / batch.n_tokens_N.sum(), {})


PLUGIN = SupervisedFineTuning
