"""Runs a recipe from the command line: check, plan, execute, sum up."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import yaml

from evalkit.console import print_lacking, say
from evalkit.durable import write_text
from evalkit.errors import EvalkitError, Problem, RecipeError
from evalkit.pipeline import (
    carding,
    checkpoints,
    children,
    judge_serving,
    judging_cost,
    kinship,
    launching,
    lineage,
    machine,
    preflight,
    rendering_check,
    runner,
    summary,
    tracking,
)
from evalkit.pipeline.plan import make_plan
from evalkit.pipeline.step import Launch, Plan, RunOptions, Step
from evalkit.recipe import Recipe, as_data
from evalkit.recipe_document import Document
from evalkit.recipe_file import RecipeFile, validated
from evalkit.rundir import PLAN, RECIPE, RUNS, RunDir

# Set before any heavy import; none of these can change a result. Progress is shown once, by
# `console`, and threads that wait for each other must not spin: on a busy machine that costs more
# than the second thread gains.
SURROUNDINGS = {
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass(frozen=True)
class Orders:
    """How to go about a recipe: the flags that all its commands have.

    out: folder of the run, by default `runs/NAME`. until: the step to stop after.
    redo: steps to make again. hub_root: folder of the Hub that evalkit serves itself.
    report_to: trackers that training reports to.
    launch: a shipped launch config, or the path of one; processes: how many it starts.
    """

    out: Path | None = None
    until: str | None = None
    redo: tuple[str, ...] = ()
    dry_run: bool = False
    hub_root: Path = Path("hub")
    replace: bool = False
    children: str = "auto"
    launch: str | None = None
    processes: int | None = None
    report_to: tuple[str, ...] = ()


class Ready(NamedTuple):
    """A checked recipe with its plan; lacking: what this machine would need to run it."""

    file: RecipeFile
    goal: str
    plan: Plan
    run: RunDir
    options: RunOptions
    lacking: list[Problem]


def run_recipe(goal: str, document: Document, orders: Orders) -> Ready:
    """Does what `evalkit GOAL RECIPE` promises, or with `dry_run` only prepares it."""
    ready = prepare(goal, document, orders)
    if not orders.dry_run:
        perform(ready, orders)
    return ready


def prepare(goal: str, document: Document, orders: Orders) -> Ready:
    """Checks a recipe and makes its plan; nothing is written.

    Raises:
        RecipeError: the recipe is wrong; `problems` lists everything wrong.
    """
    os.environ.update(SURROUNDINGS)
    tracking.require_trackers(orders.report_to)
    try:
        file = validated(document)
    except RecipeError as error:
        raise preflight.with_every_problem(error, document, goal) from None
    run = RunDir(orders.out or RUNS / file.recipe.name)
    options = RunOptions(
        orders.hub_root.absolute(), orders.replace, orders.report_to, _launch_of(orders)
    )
    lacking: list[Problem] = []
    if orders.redo or not _is_finished(file.recipe, goal, run, options):
        lacking = preflight.check(file, goal, only_plan=orders.dry_run, launch=options.launch)
    plan = make_plan(file.recipe, goal)
    if orders.until:
        plan = plan.up_to({runner.require_step(plan, orders.until).name})
    for name in orders.redo:
        runner.require_step(plan, name)
    if orders.dry_run:
        for line in rendering_check.examples_of(file.recipe):
            say(line)
    for warning in kinship.warnings(file.recipe):
        say(f"warning: {warning}")
    return Ready(file, goal, plan, run, options, lacking)


def perform(ready: Ready, orders: Orders) -> list[str]:
    """Runs what of a plan is not finished; returns the names of the steps that it ran."""
    ready.run.refuse_foreign()
    preflight.check_machine(ready.run.path)
    # stdout is the result alone, whatever libraries print.
    with contextlib.redirect_stdout(sys.stderr), ready.run.locked():
        _forget(ready, orders)
        _note_recipe(ready)
        to_do = summary.to_do(ready.plan, ready.run, ready.options)
        judging_cost.announce(ready.plan, to_do, ready.run)
        note = partial(lineage.write, ready.plan.recipe, ready.run)
        try:
            ran = runner.execute(
                ready.plan, ready.run, ready.options, _elsewhere(ready, orders), note
            )
        finally:
            checkpoints.close_engine()
            judge_serving.close_servers()
    if not ran:
        say(f"nothing to do: all {len(ready.plan.steps)} steps of {ready.run.path} are finished")
    return ran


def print_outcome(ready: Ready, orders: Orders) -> None:
    """Prints for people what `run_recipe` did or would do."""
    if orders.dry_run:
        description = summary.describe_plan(ready.plan, ready.run, ready.options, orders.redo)
        summary.print_plan(description)
        print_lacking(ready.lacking)
    else:
        summary.print_summary(ready.plan, ready.run, ready.options)


def describe_outcome(ready: Ready, orders: Orders) -> dict[str, object]:
    """The same as JSON values: of the run, or of the plan and what this machine lacks for it."""
    if not orders.dry_run:
        return summary.describe_run(ready.run.path)
    description = summary.describe_plan(ready.plan, ready.run, ready.options, orders.redo)
    return {**description, "lacking": [problem._asdict() for problem in ready.lacking]}


def _is_finished(recipe: Recipe, goal: str, run: RunDir, options: RunOptions) -> bool:
    """Whether there is nothing to do: then the checks, which read data, can rest."""
    if not run.steps.is_dir():
        return False
    try:
        plan = make_plan(recipe, goal)
    except EvalkitError:
        return False  # the checks will say what is wrong, with file and line
    return all(runner.state(step, run, options) == "done" for step in plan.steps)


def _forget(ready: Ready, orders: Orders) -> None:
    if orders.redo:
        carding.keep_cards(ready.run)
    forgotten = runner.redo(ready.plan, ready.run, orders.redo, ready.options)
    beyond = [name for name in forgotten if name not in ready.plan.by_name]
    if beyond:
        say(f"also forgotten, being made from it: {', '.join(beyond)}")


def _note_recipe(ready: Ready) -> None:
    resolved = yaml.safe_dump(as_data(ready.file.recipe), sort_keys=False, allow_unicode=True)
    write_text(ready.run.path / RECIPE, resolved)
    try:
        whole = make_plan(ready.file.recipe)
    except EvalkitError:  # data that only later commands need is not there
        whole = ready.plan
    steps = [{"step": step.name, "title": step.title} for step in whole.steps]
    write_text(ready.run.path / PLAN, json.dumps(steps, indent=1) + "\n")


def _launch_of(orders: Orders) -> Launch | None:
    if orders.launch is None:
        if orders.processes is not None:
            raise RecipeError("--processes says how many --launch starts", "add --launch fsdp2")
        return None
    return launching.find_launch(orders.launch, orders.processes)


def _elsewhere(ready: Ready, orders: Orders) -> Callable[[Step], Callable[[], None] | None]:
    wanted = orders.children == "always" or (orders.children == "auto" and machine.has_gpu())

    def elsewhere(step: Step) -> Callable[[], None] | None:
        if step.kind == "train" and ready.options.launch is not None:
            run_it = launching.run_launched
        elif wanted and step.expensive:
            run_it = children.run_in_child
        else:
            return None

        def run_there() -> None:
            judges = judge_serving.start_for(step.judge)
            checkpoints.release()  # what steps have left open here
            options = replace(ready.options, judge_servers=judges)
            run_it(step, ready.run, options, ready.goal)

        return run_there

    return elsewhere
