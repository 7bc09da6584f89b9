"""Runs one step in a process of its own, so that GPU memory is really freed between steps.

On a CPU that would only cost seconds of imports per step, so there the plan
runs in one process. Either way the same function does the step.
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from evalkit import errors
from evalkit.console import is_rank_zero, print_error, rank
from evalkit.durable import write_text
from evalkit.errors import EvalkitError, PrerequisiteError, Problem
from evalkit.pipeline import runner
from evalkit.pipeline.plan import make_plan
from evalkit.pipeline.step import RunOptions, Step
from evalkit.recipe_file import read_recipe
from evalkit.rundir import RECIPE, RunDir

INTERRUPTED = 130
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def run_in_child(step: Step, run: RunDir, options: RunOptions, goal: str) -> None:
    """Does a step of a goal's plan in a child process, its output passed through.

    Raises:
        EvalkitError: the step failed; what it said stands above.
    """
    words = [sys.executable, "-m", __name__, task_of(step, run, options, goal)]
    # stdout is the command's result alone, whatever a library prints in the child.
    done = subprocess.run(words, check=False, pass_fds=kept_descriptors(run), stdout=2)
    if done.returncode:
        raise ending(step, done.returncode)


def task_of(
    step: Step, run: RunDir, options: RunOptions, goal: str, errors: str | None = None
) -> str:
    """What a child is told to do, as JSON.

    errors: a folder that errors are left in, by processes that are not to print the same.
    """
    task = {"run": str(run.path), "goal": goal, "step": step.name, "errors": errors}
    return json.dumps({**task, "options": asdict(options)}, default=str)


def kept_descriptors(run: RunDir) -> tuple[int, ...]:
    """The run's lock: children hold it too, so that none starts beside them if this one dies."""
    return () if run.lock_descriptor is None else (run.lock_descriptor,)


def ending(step: Step, code: int) -> BaseException:
    """What is to be raised where a child ended with an exit code other than 0."""
    if code == INTERRUPTED:
        return KeyboardInterrupt()
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return PrerequisiteError(
            f"step {step.name} was killed: most likely there is not enough memory",
            f"end other programs, or lower {runner.MEMORY_HINTS.get(step.kind, 'what it holds')};"
            " the same command then goes on",
        )
    return EvalkitError(
        f"step {step.name} failed in a process of its own (exit {code})",
        "what it said stands above; the same command goes on from there",
    )


def main(text: str) -> None:
    """What the child runs: one step of the recipe that the run's folder holds."""
    task = json.loads(text)
    run = RunDir(Path(task["run"]))
    options = RunOptions.from_json(task["options"])
    plan = make_plan(read_recipe(run.path / RECIPE).recipe, task["goal"])
    do = runner.run_step if is_rank_zero() else runner.join_step
    try:
        do(plan, plan.by_name[task["step"]], run, options)
    except EvalkitError as error:
        if task["errors"] is None:
            raise
        leave_error(Path(task["errors"]), rank(), error)
        sys.exit(1)


def leave_error(folder: Path, rank: int, error: EvalkitError) -> None:
    """Leaves an error of one process where the one that launched it finds it."""
    content = {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "problems": [list(problem) for problem in error.problems],
    }
    write_text(folder / f"{rank}.json", json.dumps(content))


def left_error(folder: Path) -> EvalkitError | None:
    """The error of the first process that left one."""
    files = sorted(folder.glob("*.json"), key=lambda file: int(file.stem))
    if not files:
        return None
    content = json.loads(files[0].read_text("utf-8"))
    kind: type[EvalkitError] = getattr(errors, content["type"])
    problems = [Problem(*problem) for problem in content["problems"]]
    return kind(content["message"], content["hint"], problems)


def end_with_parent() -> None:
    """Asks Linux to kill this process when its parent dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    try:
        main(sys.argv[1])
    except EvalkitError as error:
        print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
