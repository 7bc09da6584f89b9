"""Step `ITERATION-judge`: every ordered pair of responses judged, win probabilities estimated."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from evalkit.errors import JudgeError, RecipeError
from evalkit.journal import Journal
from evalkit.pipeline import plugins
from evalkit.pipeline.checkpoints import open_judge
from evalkit.pipeline.groups import read_groups, write_groups
from evalkit.pipeline.layout import IterationSlot, stage_of
from evalkit.pipeline.responses import step_name as responses_step
from evalkit.pipeline.step import Step, StepContext
from evalkit.preferences import judge_groups
from evalkit.recipe import Recipe, as_data
from evalkit.stages import Stage


def step_name(slot_name: str) -> str:
    """Name of the step that judges an iteration's responses."""
    return f"{slot_name}-judge"


def is_needed(recipe: Recipe, slot: IterationSlot) -> bool:
    """Whether the iteration's method wants its responses judged."""
    stage = stage_of(recipe, slot)
    return bool(plugins.make("methods", stage.method).needs().judge)


def step(recipe: Recipe, slot: IterationSlot) -> Step:
    """The step that judges an iteration's responses."""
    stage = stage_of(recipe, slot)
    if stage.judge is None:
        raise RecipeError(f"{stage.method.name} needs a judge", "add 'judge: rule', say")
    return Step(
        name=step_name(slot.name),
        kind="judge",
        title=f"judge all pairs of responses ({stage.judge.name})",
        settings={
            "judge": plugins.settings("judges", stage.judge),
            "preferences": as_data(stage.preferences),
        },
        needs=(responses_step(slot.name),),
        work=lambda context: _judge(context, stage, slot),
    )


def _judge(context: StepContext, stage: Stage, slot: IterationSlot) -> Mapping[str, Any]:
    assert stage.judge is not None
    journal = Journal(context.scratch / "journal.jsonl")
    judge = open_judge(plugins.make("judges", stage.judge), journal)
    groups = read_groups(context.run.folder(responses_step(slot.name)))
    with closing(judge):  # it must not share memory with the training that follows
        judged = judge_groups(groups, judge, stage.preferences, context.progress)
    if judged.stats.unjudged_prompts == len(groups):
        raise JudgeError(
            f"judge {stage.judge.name} gave no usable verdict on any of {len(groups)} prompts",
            "check that its rule, model or address fits these prompts",
        )
    return {
        "digest": write_groups(context.folder, judged.groups),
        "judge": dict(judge.identity()),
        "stats": judged.stats._asdict(),
    }
