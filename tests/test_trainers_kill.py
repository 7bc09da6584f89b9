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


def train_it(folder: Path, start: Path, marks: Connection) -> None:
    """What each process does: the same training step, telling how far it is."""
    import torch
    from test_trainers_trainer import BASIC, examples, run

    torch.set_num_threads(1)
    changes = {
        "batch_size": 2, "optimizer": "rmsprop", "save_steps": SAVE_STEPS, "log_steps": 2,
        "schedule_epochs": 3.0,
    }  # fmt: skip

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


def test_sigkill_anywhere_in_a_training_step(tiny_llama: Path, tmp_path: Path) -> None:
    # Each process is a copy of one that has imported everything: to be killed is all it is for.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["evalkit.trainers.training", "evalkit.trainers.sppo"])

    def begin(name: str) -> tuple[Any, Connection]:
        ours, theirs = server.Pipe(duplex=False)
        process = server.Process(target=train_it, args=(tmp_path / name, tiny_llama, theirs))
        process.start()
        theirs.close()
        return process, ours

    def finish(name: str) -> None:
        process, connection = begin(name)
        list(marks_of(connection))
        process.join()
        assert process.exitcode == 0

    finish("unbroken")
    trained = kills = 0
    for stage, wanted, after_s in MOMENTS:
        process, connection = begin("broken")
        marks = marks_of(connection)
        seen = []
        for mark in marks:
            seen.append(mark)
            if mark == (stage, wanted):
                break
        time.sleep(after_s)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert seen[-1] == (stage, wanted)
        first = next((done for kind, done in seen if kind == "training"), None)
        if first is not None:  # it went on from the last checkpoint of the attempt before
            assert first > trained - SAVE_STEPS
            trained = wanted
    assert kills >= len(MOMENTS) - 1  # the last may come too late
    finish("broken")
    for suffix in ("", "-work"):
        assert files(tmp_path / f"broken{suffix}") == files(tmp_path / f"unbroken{suffix}")
