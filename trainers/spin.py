"""SPIN: the policy learns to prefer given responses to those it wrote itself an iteration ago."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from evalkit import roles
from evalkit.preferences import sampled
from evalkit.records import PromptGroup, Response, TrainingExample
from evalkit.roles import DataNeeds, Examples, LogpBatch, Method, MethodLoss
from evalkit.trainers.losses import hinge_pair_loss, logistic_pair_loss
from evalkit.trainers.pairs import REQUIRES, gold, pair_deltas, pair_example, pair_metrics
from evalkit.trainers.watching import Mean

_LOSSES = {"sigmoid": logistic_pair_loss, "hinge": hinge_pair_loss}
SATURATED = 4.0  # beta * margin beyond which a pair teaches next to nothing


class SelfPlayFineTuning(Method):
    """Gold against own response, over the pairs of this iteration and of earlier ones.

    Source: Chen et al. 2024 (arXiv:2401.01335); data rule after uclaml/SPIN at a12ba80.
    """

    class Options(roles.Options):
        """Settings of SPIN."""

        beta: Annotated[float, Field(gt=0)] = Field(
            0.1, description="slope of the loss (lambda in the paper)"
        )
        loss: Literal["sigmoid", "hinge"] = Field("sigmoid", description="form of the loss")
        samples: Annotated[int, Field(ge=1)] = Field(
            1, description="own responses per prompt; each makes a pair"
        )
        accumulate: Literal["none", "previous", "all"] = Field(
            "previous",
            description="earlier iterations whose pairs are trained on too: those of the previous"
            " one, as the released models did, of all, or of none",
        )

    requires = REQUIRES
    options: Options
    self_play = True

    def needs(self) -> DataNeeds:
        options = self.options
        return DataNeeds(gold=True, samples=options.samples, earlier=options.accumulate)

    def examples(self, groups: Sequence[PromptGroup], earlier: Sequence[PromptGroup]) -> Examples:
        found: list[TrainingExample] = []
        dropped: Counter[str] = Counter()
        for number, group in enumerate([*earlier, *groups]):
            real = gold(group)
            if real is None:
                dropped["no_gold"] += 1
                continue
            for own in sampled(group):
                if _same(real, own):
                    dropped["equal_to_gold"] += 1
                else:
                    pair = pair_example(group, real, own)
                    found.append(replace(pair, earlier=number < len(earlier)))
        return Examples(found, dict(dropped))

    def loss(self, batch: LogpBatch) -> MethodLoss:
        pairs = pair_deltas(batch)
        losses_B = _LOSSES[self.options.loss](
            pairs.delta_chosen_B, pairs.delta_rejected_B, self.options.beta
        )
        margin_B = pairs.delta_chosen_B - pairs.delta_rejected_B
        opponent_B = batch.drawn_N.view(-1, 2)[:, 1]  # the other pairs are of an older opponent
        metrics = {
            **pair_metrics(batch, self.options.beta),
            "saturated": Mean.of(self.options.beta * margin_B > SATURATED),
            "opponent_accuracy": Mean.within(margin_B > 0, opponent_B),
        }
        return MethodLoss(losses_B.mean(), metrics)


def _same(real: Response, own: Response) -> bool:
    return own.token_ids == real.token_ids or own.text == real.text


PLUGIN = SelfPlayFineTuning
