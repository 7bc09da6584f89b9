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

from evalkit.console import print_error
from evalkit.errors import EvalkitError, PrerequisiteError
from evalkit.pipeline import runner
from evalkit.pipeline.plan import make_plan
from evalkit.pipeline.step import RunOptions, Step
from evalkit.recipe_file import read_recipe
from evalkit.rundir import RECIPE, RunDir

INTERRUPTED = 130
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is there, asked without importing torch."""
    return Path("/proc/driver/nvidia/version").exists()


def run_in_child(step: Step, run: RunDir, options: RunOptions, goal: str) -> None:
    """Does a step of a goal's plan in a child process, its output passed through.

    Raises:
        EvalkitError: the step failed; what it said stands above.
    """
    task = {"run": str(run.path), "goal": goal, "step": step.name, "options": asdict(options)}
    text = json.dumps(task, default=str)
    # The child holds the run's lock too: if this process is killed, no other can start beside it.
    kept = () if run.lock_descriptor is None else (run.lock_descriptor,)
    words = [sys.executable, "-m", __name__, text]
    # stdout is the command's result alone, whatever a library prints in the child.
    done = subprocess.run(words, check=False, pass_fds=kept, stdout=2)
    if done.returncode == INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode == -signal.SIGKILL:
        raise PrerequisiteError(
            f"step {step.name} was killed: most likely there is not enough memory",
            f"end other programs, or lower {runner.MEMORY_HINTS.get(step.kind, 'what it holds')};"
            " the same command then goes on",
        )
    if done.returncode:
        raise EvalkitError(
            f"step {step.name} failed in a process of its own (exit {done.returncode})",
            "what it said stands above; the same command goes on from there",
        )


def main(text: str) -> None:
    """What the child runs: one step of the recipe that the run's folder holds."""
    task = json.loads(text)
    run = RunDir(Path(task["run"]))
    options = RunOptions(Path(task["options"]["hub_root"]), task["options"]["replace"])
    plan = make_plan(read_recipe(run.path / RECIPE).recipe, task["goal"])
    runner.run_step(plan, plan.by_name[task["step"]], run, options)


def _end_with_parent() -> None:
    """Asks Linux to kill this process when its parent dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    _end_with_parent()
    try:
        main(sys.argv[1])
    except EvalkitError as error:
        print_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
