"""Runs a recipe from the command line: read, check, plan, execute, sum up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from evalkit.console import print_lacking, say
from evalkit.durable import write_text
from evalkit.errors import EvalkitError, Problem, RecipeError
from evalkit.pipeline import children, preflight, runner, summary
from evalkit.pipeline.plan import make_plan
from evalkit.pipeline.step import Plan, RunOptions, Step
from evalkit.recipe import Recipe, as_data
from evalkit.recipe_file import RecipeFile, read_recipe
from evalkit.rundir import PLAN, RECIPE, RunDir

# Set before any heavy import; none of these can change a result. Progress is shown once, by
# `console`, and threads that wait for each other must not spin: on a busy machine that costs more
# than the second thread gains.
SURROUNDINGS = {
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def run_recipe(goal: str, flags: Mapping[str, Any]) -> None:
    """Does what `evalkit GOAL RECIPE` promises, and prints the closing summary to stdout."""
    os.environ.update(SURROUNDINGS)
    path, overrides = flags["recipe"], flags["overrides"]
    try:
        file = read_recipe(path, overrides)
    except RecipeError as error:
        raise preflight.with_every_problem(error, path, overrides, goal) from None
    run = RunDir(flags["out"] or Path("runs") / file.recipe.name)
    options = RunOptions(hub_root=flags["hub_root"].absolute(), replace=flags["replace"])
    lacking: list[Problem] = []
    if flags["redo"] or not _is_finished(file.recipe, goal, run, options):
        lacking = preflight.check(file, goal, only_plan=flags["dry_run"])
    plan = make_plan(file.recipe, goal)
    for name in (*flags["redo"], *([flags["until"]] if flags["until"] else [])):
        runner.require_step(plan, name)
    if flags["until"]:
        plan = plan.up_to({flags["until"]})
    if flags["dry_run"]:
        summary.print_plan(summary.describe_plan(plan, run, options, flags["redo"]))
        print_lacking(lacking)
        return
    preflight.check_machine(run.path)
    with run.locked():
        _run(file, plan, run, options, flags)


def _is_finished(recipe: Recipe, goal: str, run: RunDir, options: RunOptions) -> bool:
    """Whether there is nothing to do: then the checks, which read data, can rest."""
    if not run.steps.is_dir():
        return False
    try:
        plan = make_plan(recipe, goal)
    except EvalkitError:
        return False  # the checks will say what is wrong, with file and line
    return all(runner.state(step, run, options) == "done" for step in plan.steps)


def _run(
    file: RecipeFile, plan: Plan, run: RunDir, options: RunOptions, flags: Mapping[str, Any]
) -> None:
    runner.redo(plan, run, flags["redo"], options)
    resolved = yaml.safe_dump(as_data(file.recipe), sort_keys=False, allow_unicode=True)
    write_text(run.path / RECIPE, resolved)
    steps = [{"step": step.name, "title": step.title} for step in make_plan(file.recipe).steps]
    write_text(run.path / PLAN, json.dumps(steps, indent=1) + "\n")
    ran = runner.execute(plan, run, options, _in_child(flags["children"], run, options))
    if not ran:
        say(f"nothing to do: all {len(plan.steps)} steps of {run.path} are finished")
    summary.print_summary(plan, run, options)


def _in_child(when: str, run: RunDir, options: RunOptions) -> Callable[[Step], None] | None:
    if when == "always" or (when == "auto" and children.has_gpu()):
        return lambda step: children.run_in_child(step, run, options)
    return None
