"""Runs a plan: finished steps are kept, stale expensive ones refused, the rest done in order."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from evalkit.console import no_progress, progress_line, say
from evalkit.durable import read_json, write_text
from evalkit.errors import (
    EvalkitError,
    PrerequisiteError,
    RecipeError,
    StaleStepError,
    did_you_mean,
    lacking,
)
from evalkit.fingerprint import differences
from evalkit.pipeline.step import Kind, Plan, RunOptions, Step, StepContext, step_fingerprint
from evalkit.pipeline.versions import package_versions
from evalkit.records import dumps
from evalkit.rundir import FACTS, Receipt, RunDir

State = Literal["done", "to do", "stale", "rebuild"]
FREE_BYTES_OF_A_FULL_DISK = 1_000_000
# What to lower where memory does not suffice, by kind of step.
MEMORY_HINTS: Mapping[Kind, str] = {
    "train": "training.token_budget or micro_batch_size; gradient_checkpointing: true saves more",
    "generate": "the engine's batch_rows, or sampling.max_new_tokens",
    "evaluate": "the engine's batch_rows, or the benchmark's max_new_tokens",
    "judge": "the judge's batch size",
    "quantize": "the scheme's calibration_samples or max_sequence_length",
}
SHOWN_DIFFERENCES = 6


def state(step: Step, run: RunDir, options: RunOptions) -> State:
    """Whether a step is finished, still to do, stale (refused) or simply rebuilt."""
    receipt = run.receipt(step.name)
    if receipt is None:
        return "to do"
    basis = step.basis(run)
    if basis is not None and receipt.fingerprint == step_fingerprint(basis):
        return "done" if step.holds(run, options) else "rebuild"
    return "stale" if step.expensive else "rebuild"


def redo(plan: Plan, run: RunDir, names: Sequence[str], options: RunOptions) -> list[str]:
    """Forgets steps and all that was made from them; returns the names of what was forgotten.

    Finished steps beyond the plan, which may be cut short, are forgotten too.

    Raises:
        RecipeError: the plan has no such step.
        StaleStepError: another step no longer fits; then nothing is forgotten.
    """
    for name in names:
        require_step(plan, name)
    wanted = {step for name in names for step in plan.dependents(name)}
    kept = tuple(step for step in plan.steps if step.name not in wanted)
    refuse_stale(Plan(plan.recipe, kept), run, options)
    forgotten = [step.name for step in plan.steps if step.name in wanted]
    forgotten += _made_from(run, wanted)
    for step in forgotten:
        run.forget(step)
    return forgotten


def _made_from(run: RunDir, names: set[str]) -> list[str]:
    """Other finished steps that needed some, directly or indirectly, as their receipts say."""
    # A receipt of those is not read: it may be damaged, and be why they are made again.
    receipts = {name: run.receipt(name) for name in run.finished() if name not in names}
    needs = {name: set(one.settings["needs"]) for name, one in receipts.items() if one is not None}
    found: list[str] = []
    while more := [n for n in needs if n not in {*names, *found} and needs[n] & {*names, *found}]:
        found += more
    return found


def require_step(plan: Plan, name: str) -> Step:
    """The plan's step of that name, RecipeError with the nearest name if there is none."""
    if name not in plan.by_name:
        raise RecipeError(f"the plan has no step '{name}'", did_you_mean(name, plan.by_name))
    return plan.by_name[name]


def refuse_stale(plan: Plan, run: RunDir, options: RunOptions) -> None:
    """Raises StaleStepError, saying what changed, if finished expensive steps no longer fit."""
    stale = [step for step in plan.steps if state(step, run, options) == "stale"]
    if not stale:
        return
    below = {name for step in stale for name in plan.dependents(step.name)[1:]}
    topmost = [step for step in stale if step.name not in below] or stale
    again = " ".join(f"--redo {step.name}" for step in topmost)
    raise StaleStepError(
        "\n".join(_changes(step, run) for step in topmost),
        f"{again} makes this (and what depends on it) again, --out DIR starts afresh",
    )


def _changes(step: Step, run: RunDir) -> str:
    receipt, basis = run.receipt(step.name), step.basis(run)
    changes = differences(receipt.settings, basis) if receipt and basis else []
    shown = changes[:SHOWN_DIFFERENCES] or ["a step it needs is gone"]
    return "\n    ".join([f"step {step.name} was finished with other settings:", *shown])


def execute(
    plan: Plan,
    run: RunDir,
    options: RunOptions,
    elsewhere: Callable[[Step], Callable[[], None] | None] = lambda step: None,
    note: Callable[[], None] = lambda: None,
) -> list[str]:
    """Runs all unfinished steps in order; returns the names of those it ran.

    elsewhere: what runs a step in processes of its own, None where it is to run in this one.
    note: writes down what is finished, behind each step and at the end.

    Raises:
        StaleStepError: a finished expensive step was made with other settings.
        EvalkitError: a step's result says that the run must not go on.
    """
    refuse_stale(plan, run, options)
    ran = []
    for number, step in enumerate(plan.steps, start=1):
        current = state(step, run, options)
        if current == "done":
            _halt(step, run, note)
            continue
        if current == "stale":
            refuse_stale(plan, run, options)
        say(f"[{number}/{len(plan.steps)}] {step.name}: {step.title}")
        run_elsewhere = elsewhere(step)
        if run_elsewhere is not None:
            run_elsewhere()
        else:
            run_step(plan, step, run, options)
        ran.append(step.name)
        _halt(step, run, note)
        note()
    note()
    return ran


def _halt(step: Step, run: RunDir, note: Callable[[], None]) -> None:
    """Raises what a finished step's result says against going on, once that is written down."""
    receipt = run.receipt(step.name)
    error = step.halt(receipt.result) if receipt else None
    if error is not None:
        note()  # a command killed behind the receipt has not come to it
        raise error


def run_step(plan: Plan, step: Step, run: RunDir, options: RunOptions) -> Receipt:
    """Does one step in this process and writes its receipt."""
    basis = _basis(step, run)
    recovered = run.recover(step.name, step_fingerprint(basis))
    if recovered is not None:
        return recovered
    started = time.monotonic()
    folder = run.begin(step.name, step_fingerprint(basis))
    with progress_line(step.name) as progress, _told_what_lacks(step, run):
        context = StepContext(plan.recipe, run, folder, options, progress)
        result = dict(step.work(context))
    if step.expensive:
        result["versions"] = package_versions()
    receipt = Receipt(step.name, step_fingerprint(basis), basis, json.loads(dumps(result)))
    run.finish(step.name, receipt)
    _note_facts(run, options, step.name, time.monotonic() - started)
    return receipt


def begin_step(step: Step, run: RunDir) -> bool:
    """Makes a step's working folder, for processes that share it; False if it is finished now."""
    fingerprint = step_fingerprint(_basis(step, run))
    if run.recover(step.name, fingerprint) is not None:
        return False
    run.begin(step.name, fingerprint)
    return True


def join_step(plan: Plan, step: Step, run: RunDir, options: RunOptions) -> None:
    """Does a step's work beside the process that runs and writes it; `begin_step` came before.

    Nothing is written here: two processes that wrote the folder's mark would meet in its draft.
    """
    with _told_what_lacks(step, run):
        context = StepContext(plan.recipe, run, run.working(step.name), options, no_progress)
        step.work(context)


def _basis(step: Step, run: RunDir) -> dict[str, Any]:
    basis = step.basis(run)
    if basis is None:
        raise StaleStepError(f"step {step.name} needs steps that are not finished")
    return basis


@contextmanager
def _told_what_lacks(step: Step, run: RunDir) -> Iterator[None]:
    """Turns a library's error about memory or disk into one that says what to do."""
    try:
        yield
    except EvalkitError:
        raise
    except Exception as error:
        lacks = lacking(error)
        # Some libraries fail on a full disk without saying so.
        if lacks is None and shutil.disk_usage(run.path).free < FREE_BYTES_OF_A_FULL_DISK:
            lacks = PrerequisiteError("there is no space left on the disk", "free some space")
        if lacks is None:
            raise
        lower = MEMORY_HINTS.get(step.kind, "") if "memory" in lacks.message else ""
        hint = f"{lacks.hint}{f': {lower}' if lower else ''}; the same command then goes on"
        raise PrerequisiteError(f"step {step.name}: {lacks.message}", hint) from error


def read_facts(run: RunDir) -> dict[str, Any]:
    """Times, host and places of a run: what differs between equal runs."""
    hint = "remove it: it only holds how long steps took"
    facts: dict[str, Any] = read_json(run.path / FACTS, {}, hint=hint)
    return facts


def _note_facts(run: RunDir, options: RunOptions, step: str, seconds: float) -> None:
    facts = read_facts(run)
    facts["host"], facts["hub_root"] = platform.node(), str(options.hub_root)
    facts.setdefault("steps", {})[step] = {
        "seconds": round(seconds, 1),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_text(run.path / FACTS, json.dumps(facts, indent=1, sort_keys=True) + "\n")
