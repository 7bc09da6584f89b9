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
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evalkit import errors
from evalkit.console import is_rank_zero, print_error, rank
from evalkit.durable import write_text
from evalkit.errors import EvalkitError, PrerequisiteError, Problem
from evalkit.pipeline import judge_serving, runner
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

    errors: a folder that errors are left in, by processes of which one is to be heard.
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
    try:
        _do(task)
    except Exception as error:
        if task["errors"] is None:
            raise
        leave_error(Path(task["errors"]), rank(), error)
        sys.exit(1)
    finally:
        judge_serving.close_servers()


def _do(task: dict[str, Any]) -> None:
    run = RunDir(Path(task["run"]))
    options = RunOptions.from_json(task["options"])
    plan = make_plan(read_recipe(run.path / RECIPE).recipe, task["goal"])
    do = runner.run_step if is_rank_zero() else runner.join_step
    judge_serving.take_over(options.judge_servers)
    do(plan, plan.by_name[task["step"]], run, options)


# --- errors of processes that train together: one is told, once ---


def leave_error(folder: Path, rank: int, error: Exception) -> None:
    """Leaves an error of one process where the one that launched it finds it."""
    content: dict[str, Any] = {"moment": time.monotonic_ns()}  # of a clock that all share
    if isinstance(error, EvalkitError):
        content |= {
            "type": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "problems": [list(problem) for problem in error.problems],
        }
    else:
        content["traceback"] = "".join(traceback.format_exception(error))
    write_text(folder / f"{rank}.json", json.dumps(content))


def left_error(folder: Path) -> EvalkitError | None:
    """The first error for people that a process left."""
    for content in _left(folder):
        if "type" in content:
            kind: type[EvalkitError] = getattr(errors, content["type"])
            problems = [Problem(*problem) for problem in content["problems"]]
            return kind(content["message"], content["hint"], problems)
    return None


def left_traceback(folder: Path) -> str:
    """Where the first process failed that left no error for people, "" if none did.

    Those behind it mostly failed because it was gone.
    """
    return next((content["traceback"] for content in _left(folder) if "type" not in content), "")


def _left(folder: Path) -> list[dict[str, Any]]:
    """What processes left, in the order in which they failed."""
    contents = [json.loads(file.read_text("utf-8")) for file in folder.glob("*.json")]
    return sorted(contents, key=lambda content: int(content["moment"]))


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
