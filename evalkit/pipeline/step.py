"""What a step of a plan is, and what it is given when it runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evalkit.console import is_rank_zero
from evalkit.errors import EvalkitError
from evalkit.fingerprint import fingerprint
from evalkit.recipe import Recipe
from evalkit.roles import PluginRef, Progress
from evalkit.rundir import SCRATCH, Receipt, RunDir

Kind = Literal[
    "base",
    "generate",
    "judge",
    "train",
    "quantize",
    "evaluate",
    "recovery",
    "contamination",
    "gate",
    "compare",
    "card",
    "publish",
]


@dataclass(frozen=True)
class Launch:
    """Training steps in several processes. config: path of an accelerate config."""

    config: str
    processes: int


@dataclass(frozen=True)
class RunOptions:
    """How to run, as against what to make: nothing here may change a result.

    hub_root: folder of the Hub that evalkit serves for `publish.endpoint: local`.
    report_to: trackers that training reports to (`tracking.TRACKERS`).
    launch: how training steps are started; None trains in one process.
    judge_servers: where the models of judges are served, for a step in a process of its own.
    """

    hub_root: Path
    replace: bool = False
    report_to: tuple[str, ...] = ()
    launch: Launch | None = None
    judge_servers: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunOptions:
        """The options that `dataclasses.asdict` and JSON made plain values of."""
        paths = {"hub_root": Path(value["hub_root"])}
        launch = None if value["launch"] is None else Launch(**value["launch"])
        tuples = {"report_to": tuple(value["report_to"])}
        return cls(**{**value, **paths, **tuples, "launch": launch})


@dataclass(frozen=True)
class StepContext:
    """What a running step sees.

    folder: its working folder, empty or left by a cut-off attempt with the same fingerprint.
    """

    recipe: Recipe
    run: RunDir
    folder: Path
    options: RunOptions
    progress: Progress

    @property
    def scratch(self) -> Path:
        """A folder for journals and checkpoints, kept until the step's receipt is written."""
        folder = self.folder / SCRATCH
        folder.mkdir(exist_ok=True)
        return folder

    def empty_folder(self, name: str) -> Path:
        """An empty folder in the working folder: what a cut-off attempt left there is removed.

        Of the processes of a launched step, the first makes it and alone writes in it.
        """
        folder = self.folder / name
        if is_rank_zero():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        return folder

    def result(self, step: str) -> Mapping[str, Any]:
        """The result of a finished step."""
        receipt = self.run.receipt(step)
        if receipt is None:
            raise EvalkitError(f"step {step} is not finished")
        return receipt.result


Work = Callable[[StepContext], Mapping[str, Any]]


@dataclass(frozen=True)
class Step:
    """One unit of a plan.

    settings: the part of the recipe that decides its result, plug-in versions included.
    needs: steps whose results it reads.
    after: steps that must be finished before it, though nothing of theirs decides its result.
    expensive: when finished with other settings it is refused, never silently done again.
    title: for people; cost: what it will take, in plain words (`1500 prompts x 5 responses`).
    holds: whether what a finished step did outside the run folder is still there.
    halt: why, after its result, the run must not go on; None where it may.
    judge: who judges in it, if anybody does.
    """

    name: str
    kind: Kind
    title: str
    settings: Mapping[str, Any]
    needs: tuple[str, ...]
    work: Work
    expensive: bool = True
    cost: str = ""
    version: int = 1
    holds: Callable[[RunDir, RunOptions], bool] = lambda run, options: True
    after: tuple[str, ...] = ()
    halt: Callable[[Mapping[str, Any]], EvalkitError | None] = lambda result: None
    judge: PluginRef | None = None

    def basis(self, run: RunDir) -> dict[str, Any] | None:
        """What its fingerprint is taken of; None while a step it needs is unfinished."""
        receipts: dict[str, Receipt] = {}
        for need in self.needs:
            receipt = run.receipt(need)
            if receipt is None:
                return None
            receipts[need] = receipt
        return {
            "version": self.version,
            "settings": self.settings,
            "needs": {
                name: {"fingerprint": receipt.fingerprint, "digest": receipt.result.get("digest")}
                for name, receipt in receipts.items()
            },
        }


@dataclass(frozen=True)
class Plan:
    """All steps of a recipe in an order that respects their needs."""

    recipe: Recipe
    steps: tuple[Step, ...]
    by_name: Mapping[str, Step] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {step.name: step for step in self.steps})

    def dependents(self, name: str) -> list[str]:
        """A step and every later step that directly or indirectly needs it, in plan order."""
        found = {name}
        for step in self.steps:
            if found & set(step.needs):
                found.add(step.name)
        return [step.name for step in self.steps if step.name in found]

    def up_to(self, names: set[str]) -> Plan:
        """The plan cut down to some steps and all that must be finished for them."""
        wanted = set(names)
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted.update(step.needs, step.after)
        return Plan(self.recipe, tuple(step for step in self.steps if step.name in wanted))


def step_fingerprint(basis: Mapping[str, Any]) -> str:
    """The fingerprint of a step's basis."""
    return fingerprint(basis)
