"""SIGKILL at any moment of a training step, its reference pass included, changes no byte."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked"),
]
SAVE_STEPS = 2
# What is awaited, and how long after it the kill comes: between two such marks lies a batch's work.
MOMENTS = (
    ("reference", 2, 0.0),
    ("reference", 6, 0.002),
    ("reference", 14, 0.001),
    ("reference", 20, 0.0),
    ("training", 1, 0.0),
    ("training", 2, 0.004),
    ("training", 7, 0.012),
    ("training", 16, 0.02),
    ("training", 24, 0.008),
    ("training", 30, 0.0),
    ("training", 30, 0.05),
)


OFTEN = {"batch_size": 2, "save_steps": SAVE_STEPS, "log_steps": 2, "schedule_epochs": 3.0}
BY_DEFAULT = {"batch_size": 1, "schedule_epochs": 3.0}  # 60 steps, of which the default saves one


def train_it(folder: Path, start: Path, changes: dict[str, Any], marks: Connection) -> None:
    """What each process does: the same training step, telling how far it is."""
    import torch
    from test_trainers_trainer import BASIC, examples, run

    torch.set_num_threads(1)
    changes = {"optimizer": "rmsprop", **changes}

    def progress(done: int, total: int, note: str = "") -> None:
        marks.send((note.split()[0], done))

    run(folder, start, BASIC.model_copy(update=changes), data=examples(20), progress=progress)


def marks_of(connection: Connection) -> Iterator[tuple[str, int]]:
    """What a process says until it ends."""
    try:
        while True:
            yield connection.recv()
    except EOFError:
        return


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


class Processes:
    """Processes that train the same thing below `folder`, each a copy of one that has imported all.

    To be killed is all they are for.
    """

    def __init__(self, folder: Path, start: Path, changes: dict[str, Any]) -> None:
        self._folder, self._start, self._changes = folder, start, changes
        self._server = multiprocessing.get_context("forkserver")
        preload = ["evalkit.trainers.training", "evalkit.trainers.sppo"]
        self._server.set_forkserver_preload(preload)

    def begin(self, name: str) -> tuple[Any, Connection]:
        """A process, and what it says."""
        ours, theirs = self._server.Pipe(duplex=False)
        words = (self._folder / name, self._start, self._changes, theirs)
        process = self._server.Process(target=train_it, args=words)
        process.start()
        theirs.close()
        return process, ours

    def finish(self, name: str) -> list[tuple[str, int]]:
        """What a process said that came to its end."""
        process, connection = self.begin(name)
        marks = list(marks_of(connection))
        process.join()
        assert process.exitcode == 0
        return marks

    def kill(self, name: str, at: tuple[str, int], after_s: float) -> tuple[Any, list[Any]]:
        """A process killed so long after it said that it was there, and all that it said."""
        process, connection = self.begin(name)
        seen = []
        for mark in marks_of(connection):
            seen.append(mark)
            if mark == at:
                break
        time.sleep(after_s)
        process.kill()
        process.join()
        return process, seen


def test_sigkill_anywhere_in_a_training_step(tiny_llama: Path, tmp_path: Path) -> None:
    processes = Processes(tmp_path, tiny_llama, OFTEN)
    processes.finish("unbroken")
    trained = kills = 0
    for stage, wanted, after_s in MOMENTS:
        process, seen = processes.kill("broken", (stage, wanted), after_s)
        kills += process.exitcode == -signal.SIGKILL
        assert seen[-1] == (stage, wanted)
        first = next((done for kind, done in seen if kind == "training"), None)
        if first is not None:  # it went on from the last checkpoint of the attempt before
            assert first > trained - SAVE_STEPS
            trained = wanted
    assert kills >= len(MOMENTS) - 1  # the last may come too late
    processes.finish("broken")
    same(tmp_path)


def test_a_training_that_says_nothing_of_checkpoints_goes_on_from_its_last(
    tiny_llama: Path, tmp_path: Path
) -> None:
    processes = Processes(tmp_path, tiny_llama, BY_DEFAULT)
    processes.finish("unbroken")
    process, _ = processes.kill("broken", ("training", 55), 0.0)
    assert process.exitcode == -signal.SIGKILL
    steps = [done for kind, done in processes.finish("broken") if kind == "training"]
    assert min(steps) == 51
    same(tmp_path)


def same(folder: Path) -> None:
    """What was broken ended as what was not."""
    for suffix in ("", "-work"):
        assert files(folder / f"broken{suffix}") == files(folder / f"unbroken{suffix}")
