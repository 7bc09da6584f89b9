"""Step `ITERATION-judge`: every ordered pair of responses judged, win probabilities estimated."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from evalkit.console import say
from evalkit.errors import JudgeError, RecipeError
from evalkit.journal import Journal
from evalkit.judging_stats import PreferenceStats
from evalkit.pipeline import plugins
from evalkit.pipeline.checkpoints import open_judge
from evalkit.pipeline.groups import read_groups, write_groups
from evalkit.pipeline.layout import IterationSlot, stage_of
from evalkit.pipeline.responses import step_name as responses_step
from evalkit.pipeline.step import Step, StepContext
from evalkit.preferences import PreferenceOptions, judge_groups
from evalkit.recipe import Recipe, as_data
from evalkit.rundir import SPENDING
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
            "preferences": _settings(stage.preferences),
        },
        needs=(responses_step(slot.name),),
        work=lambda context: _judge(context, stage, slot),
        judge=stage.judge,
    )


def _settings(preferences: PreferenceOptions) -> dict[str, Any]:
    """Without what came later and changes nothing: rounds that were judged before still fit."""
    found = dict(as_data(preferences))
    if preferences.similar_from is None:
        del found["similar_from"]
    return found


def _judge(context: StepContext, stage: Stage, slot: IterationSlot) -> Mapping[str, Any]:
    assert stage.judge is not None
    journal = Journal(context.scratch / "journal.jsonl")
    judge = open_judge(plugins.make("judges", stage.judge), journal, context.run.path / SPENDING)
    groups = read_groups(context.run.folder(responses_step(slot.name)))
    with closing(judge):  # it must not share memory with the training that follows
        judged = judge_groups(groups, judge, stage.preferences, context.progress)
    if judged.stats.unjudged_prompts == len(groups):
        raise JudgeError(
            f"judge {stage.judge.name} gave no usable verdict on any of {len(groups)} prompts",
            "check that its rule, model or address fits these prompts",
        )
    say(told(judged.stats))
    return {
        "digest": write_groups(context.folder, judged.groups),
        "judge": dict(judge.identity()),
        "stats": judged.stats._asdict(),
    }


def told(stats: PreferenceStats) -> str:
    """What a person should see of a round of judging before anything is trained on it."""
    parts = []
    if stats.order_bias is not None and stats.order_flips is not None:
        parts.append(f"order bias {stats.order_bias:+.3g} logits")
        parts.append(f"{stats.order_flips:.1%} flip with the order")
    if stats.tie_rate is not None:
        parts.append(f"{stats.tie_rate:.1%} ties")
    if stats.duplicate_rate is not None:
        parts.append(f"{stats.duplicate_rate:.1%} duplicates")
    if stats.missing:
        parts.append(f"{stats.missing} missing")
    return f"judged {stats.verdicts} ordered pairs: {', '.join(parts)}"
