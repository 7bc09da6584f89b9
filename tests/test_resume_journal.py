"""SIGKILL while sampling and while judging, at and within the write of a batch, changes no byte."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import runs
import yaml

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked"),
]
UNTIL = "iter1-judge"


class Kill(NamedTuple):
    """Comes with a process's batch of this number: before its line, in the middle, or behind it.

    step: in whose journal that batch belongs, after what the processes before have left.
    """

    batch: int
    when: Literal["before", "within", "behind"]
    step: str


KILLS = (
    Kill(2, "before", "iter1-responses"),
    Kill(2, "within", "iter1-responses"),
    Kill(3, "behind", "iter1-responses"),
    Kill(3, "within", "iter1-judge"),
    Kill(1, "before", "iter1-judge"),
    Kill(2, "behind", "iter1-judge"),
)


def run_it(recipe: Path, folder: Path, kill: Kill | None) -> None:
    """What each process does: the same command; a killed one notes in whose journal it was."""
    import torch
    from recipe_worlds import evalkit

    from evalkit.journal import Journal
    from evalkit.pipeline import journaled

    torch.set_num_threads(1)
    journaled.JUDGEMENTS_PER_BATCH = 40
    put, batches = Journal.put, 0

    def die(journal: Journal) -> None:
        (folder.parent / "killed-in").write_text(str(journal._file))
        os.kill(os.getpid(), signal.SIGKILL)

    def put_or_die(journal: Journal, key: str, answer: Any) -> Any:
        nonlocal batches
        batches += 1
        if kill is None or batches != kill.batch:
            return put(journal, key, answer)
        if kill.when != "before":
            put(journal, key, answer)
        if kill.when == "within":
            size = journal._file.stat().st_size
            os.truncate(journal._file, size - 20)
        return die(journal)

    Journal.put = put_or_die  # type: ignore[method-assign]
    words = ("train", str(recipe), "--out", str(folder), "--until", UNTIL)
    assert evalkit(*words) == 0


def test_sigkill_while_sampling_and_judging(pocket_base: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load((runs.RECIPES / "micro.yaml").read_text())
    recipe |= {
        "base": {"model": str(pocket_base)},
        "engine": {"name": "transformers", "batch_rows": 24},
        "evaluation": {},
        "variants": [],
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["evalkit.cli", "evalkit.engines.decoding", "evalkit.loading"])

    def ended(name: str, kill: Kill | None = None) -> int | None:
        process = server.Process(target=run_it, args=(file, tmp_path / name, kill))
        process.start()
        process.join()
        return process.exitcode

    assert ended("unbroken") == 0
    for kill in KILLS:
        assert ended("broken", kill) == -signal.SIGKILL
        assert kill.step in (tmp_path / "killed-in").read_text(), kill
    assert ended("broken") == 0
    assert (tmp_path / "broken" / "steps" / UNTIL).is_dir()
    assert runs.unlike(tmp_path / "unbroken", tmp_path / "broken") == []
