"""What a stage says that its method cannot do with, or makes no use of; seen without its data."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.errors import Problem
from evalkit.preferences import PreferenceOptions
from evalkit.roles import DataNeeds
from evalkit.stages import SamplingSection, Stage


def problems(stage: Stage, needs: DataNeeds) -> Iterator[Problem]:
    """What is missing or useless for a method with these needs."""
    if needs.judge and stage.judge is None:
        yield Problem("judge", f"{stage.method.name} needs a judge", "add 'judge: rule', say")
    yield from _unused(stage, needs)
    if needs.samples > 1 and stage.sampling.temperature == 0:
        yield Problem(
            "sampling.temperature",
            f"at temperature 0 all {needs.samples} samples of a prompt are the same, and"
            f" {stage.method.name} is to tell them apart",
            "raise it; the released models were sampled at 0.7 to 1.0",
        )


def _unused(stage: Stage, needs: DataNeeds) -> Iterator[Problem]:
    """What is said otherwise than by default, and the stage's method makes no use of."""
    without = {
        "judge": (stage.judge is not None and not needs.judge, "has no responses judged"),
        "preferences": (
            stage.preferences != PreferenceOptions() and not (needs.judge or stage.compat),
            "has no responses judged",
        ),
        "sampling": (
            stage.sampling != SamplingSection()
            and not needs.samples
            and stage.head_to_head.other_judge is None,
            "trains on no samples of its own",
        ),
    }
    for key, (is_unused, why) in without.items():
        if is_unused:
            message = f"{stage.method.name} {why} as it is set, so this would change nothing"
            yield Problem(key, message, f"remove '{key}'")
