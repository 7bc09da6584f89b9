"""The folder of one run, a sub-folder per finished step with its receipt: the only state there is.

run/
  recipe.yaml           the resolved recipe
  steps/NAME/           what the step made, and receipt.json written last
  steps/NAME.partial/   a step that was cut off; its next attempt goes on in it
  cache/NAME/           what a training step keeps for attempts with other settings
  plan.json             names and titles of all its steps, in order
  lineage.json          which data, reference and settings made each checkpoint
  publication/          how far each repository has come on a Hub
  logs/STEP/            event files of the trackers that training reported to (`--report-to`)
  spending.jsonl        what judges with a price were asked, attempt by attempt
  run_facts.json        times and host; these two and commit ids are all that
                        differs between equal runs
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from evalkit.durable import damaged, read_json, sync_folder, sync_tree, write_text
from evalkit.errors import PrerequisiteError
from evalkit.records import dumps, from_json

T = TypeVar("T")
RUNS = Path("runs")  # where runs lie, unless told otherwise
RECEIPT = "receipt.json"
RECIPE, PLAN, FACTS = "recipe.yaml", "plan.json", "run_facts.json"
LINEAGE = "lineage.json"
SPENDING = "spending.jsonl"
STEPS, CACHE, PUBLICATION, LOGS = "steps", "cache", "publication", "logs"
LOCK = ".lock"
OWN = {RECIPE, PLAN, FACTS, LINEAGE, SPENDING, STEPS, CACHE, PUBLICATION, LOGS, LOCK}
PARTIAL, REPLACED = ".partial", ".replaced"
MARK = "fingerprint"  # of the attempt that a working folder belongs to
SCRATCH = "scratch"  # journals and checkpoints of an attempt: removed once the receipt is written


@dataclass(frozen=True)
class Receipt:
    """What finished a step: the fingerprint of all it was made from, and its result.

    settings: what the fingerprint was taken of, so that a refusal can say what changed.
    result: small facts that later steps read (digests, counts), JSON values.
    """

    step: str
    fingerprint: str
    settings: Mapping[str, Any]
    result: Mapping[str, Any]


class RunDir:
    """Steps of one run on disk. A step exists when its folder does: the rename is the moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps = path / STEPS
        self.lock_descriptor: int | None = None

    def folder(self, step: str) -> Path:
        """Where a finished step lies."""
        return self.steps / step

    def cache(self, step: str) -> Path:
        """Where a step keeps what outlives its attempts; it may be removed at any time."""
        return self.path / CACHE / step

    def receipt(self, step: str) -> Receipt | None:
        """The receipt of a finished step, None if it is not finished."""
        return _read_receipt(self.folder(step) / RECEIPT, f"--redo {step} makes the step again")

    def finished(self) -> list[str]:
        """Names of all finished steps that lie here, also of earlier forms of the recipe."""
        folders = sorted(self.steps.iterdir()) if self.steps.is_dir() else []
        names = (f.name for f in folders if f.suffix not in (PARTIAL, REPLACED))
        return [name for name in names if (self.folder(name) / RECEIPT).is_file()]

    def working(self, step: str) -> Path:
        """Where a step that is not finished is worked on."""
        return self.steps / (step + PARTIAL)

    def begin(self, step: str, fingerprint: str) -> Path:
        """The step's working folder: a cut-off attempt's with the same fingerprint, else empty."""
        partial = self.working(step)
        mark = partial / MARK
        if partial.exists() and (not mark.is_file() or mark.read_text() != fingerprint):
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        write_text(mark, fingerprint)
        return partial

    def finish(self, step: str, receipt: Receipt) -> Path:
        """Turns the working folder into the finished step; returns its final place."""
        partial = self.working(step)
        sync_tree(partial)  # weights, too: a receipt is believed
        write_text(partial / RECEIPT, dumps(receipt) + "\n")
        return self._put_in_place(step)

    def recover(self, step: str, fingerprint: str) -> Receipt | None:
        """Finishes a step that was cut off after its receipt was written; None if it was not."""
        partial = self.working(step)
        receipt = _read_receipt(partial / RECEIPT, f"remove {partial}")
        if receipt is None or receipt.fingerprint != fingerprint:
            return None
        self._put_in_place(step)
        return receipt

    def _put_in_place(self, step: str) -> Path:
        final = self.folder(step)
        # Only now: until the receipt was written, an attempt after a kill could go on from it.
        shutil.rmtree(self.working(step) / SCRATCH, ignore_errors=True)
        self._set_aside(step)  # a rebuilt step's old form makes way at the last moment
        self.working(step).rename(final)
        sync_folder(self.steps)
        shutil.rmtree(self.steps / (step + REPLACED), ignore_errors=True)
        return final

    def _set_aside(self, step: str) -> None:
        # Renamed before it is removed: a half-removed step must not look finished.
        aside = self.steps / (step + REPLACED)
        shutil.rmtree(aside, ignore_errors=True)
        if self.folder(step).exists():
            self.folder(step).rename(aside)

    def forget(self, step: str) -> None:
        """Removes a step, finished or not, so that it runs again."""
        self._set_aside(step)
        for suffix in (PARTIAL, REPLACED):
            shutil.rmtree(self.steps / (step + suffix), ignore_errors=True)

    def refuse_foreign(self) -> None:
        """Raises PrerequisiteError if the folder holds something, and not a run."""
        if self.path.is_dir() and not (self.path / PLAN).exists():
            strange = sorted({entry.name for entry in self.path.iterdir()} - OWN)
            if strange:
                raise PrerequisiteError(
                    f"{self.path} is not empty, and not a run: it holds {strange[0]}",
                    "choose another folder with --out",
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for this process, and the children it hands `lock_descriptor` to, alone.

        Raises:
            PrerequisiteError: another process is working in it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise PrerequisiteError(
                    f"another evalkit process is working in {self.path}",
                    "wait for it, or choose another folder with --out",
                ) from None
            self.lock_descriptor = lock.fileno()
            yield


def read_made(kind: type[T], file: Path) -> T:
    """The record that a finished step wrote into a file of its folder.

    Raises:
        RecipeError: it is gone or damaged; the hint says how to make it again.
    """
    return _decoded(kind, read_json(file, hint=_remake(file)), file)


def read_made_list(kind: type[T], file: Path) -> list[T]:
    """The records of a JSON list, or of a file of JSON lines, with the errors of `read_made`."""
    if file.suffix != ".jsonl":
        rows = read_json(file, hint=_remake(file))
        return [_decoded(kind, row, file) for row in ([None] if rows is None else rows)]
    try:
        with file.open(encoding="utf-8") as stream:
            return [_decoded(kind, json.loads(line), file) for line in stream]
    except (FileNotFoundError, ValueError) as error:
        raise damaged(file, error, _remake(file)) from None


def _decoded(kind: type[T], value: Any, file: Path) -> T:
    try:
        return from_json(kind, value)
    except (TypeError, AttributeError, KeyError) as error:
        told = error if value is not None else FileNotFoundError("it is gone")
        raise damaged(file, told, _remake(file)) from None


def _remake(file: Path) -> str:
    """What to type to have a step's file again."""
    steps = [i for i, part in enumerate(file.parts[:-1]) if part == STEPS]
    return f"--redo {file.parts[steps[-1] + 1]} makes the step again" if steps else ""


def _read_receipt(file: Path, hint: str) -> Receipt | None:
    value = read_json(file, hint=hint)
    if value is None:
        return None
    try:
        return from_json(Receipt, value)
    except TypeError as error:
        raise damaged(file, error, hint) from None
