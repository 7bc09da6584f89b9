"""What a finished or killed evaluation leaves is served again for the same weights only.

Two models at the same path, another chat template, other names of one model; and SIGKILL while
scoring, generating and judging, which costs at most the batch at work.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import checkpoints
import pytest
import runs
import yaml

pytest.importorskip("lm_eval")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked"),
]
BENCHMARKS = [
    {
        "name": "lm_eval_tasks",
        "tasks": ["pocket_exact", "pocket_choice"],
        "include_path": "pocket",
        "apply_chat_template": True,
        "limit": 24,
    },
    {
        "name": "alpaca_eval",
        "instructions": {"name": "pocket", "split": "open", "count": 24},
        "max_new_tokens": 6,
    },
    {
        "name": "mt_bench",
        "questions": {"name": "pocket", "split": "two_turn", "count": 8},
        "max_new_tokens": 6,
    },
]


class Kill(NamedTuple):
    """At a process's batch of this number of a kind: before its line, in the middle, or behind."""

    kind: str  # score, generate, compare or rate
    batch: int
    when: str


KILLS = (
    Kill("generate", 2, "before"),
    Kill("generate", 2, "within"),
    Kill("score", 2, "before"),
    Kill("score", 2, "within"),
    Kill("score", 1, "behind"),
    Kill("generate", 3, "behind"),
    Kill("compare", 2, "within"),
    Kill("compare", 1, "before"),
    Kill("rate", 2, "behind"),
    Kill("rate", 1, "within"),
)


def run_it(recipe: Path, folder: Path, log: Path, kill: Kill | None) -> None:
    """What each process does: the same command, in small batches, each of which it notes."""
    import torch
    from recipe_worlds import evalkit

    from evalkit.journal import Journal
    from evalkit.pipeline import journaled
    from evalkit.scoring import checkpoint

    torch.set_num_threads(1)
    journaled.JUDGEMENTS_PER_BATCH = 4
    checkpoint.default_token_budget = lambda device: 150
    put, key_of = Journal.put, Journal.key
    kinds: dict[str, str] = {}
    counts: dict[str, int] = {}

    def noted_key(journal: Journal, question: Any) -> str:
        key = key_of(journal, question)
        kinds[key] = question[0]
        return key

    def put_or_die(journal: Journal, key: str, answer: Any) -> Any:
        kind = kinds[key]
        counts[kind] = counts.get(kind, 0) + 1
        with log.open("a") as stream:
            stream.write(f"{kind} {key}\n")
        if kill is None or (kind, counts[kind]) != kill[:2]:
            return put(journal, key, answer)
        if kill.when != "before":
            put(journal, key, answer)
        if kill.when == "within":
            os.truncate(journal._file, journal._file.stat().st_size - 20)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    Journal.put = put_or_die  # type: ignore[method-assign]
    Journal.key = noted_key  # type: ignore[method-assign]
    sys.exit(evalkit("evaluate", str(recipe), "--out", str(folder)))


class Desk:
    """A model at one path, a recipe that measures it, and processes that run it."""

    def __init__(self, folder: Path, benchmarks: list[dict[str, Any]] = BENCHMARKS) -> None:
        self.folder, self.model, self.recipe = folder, folder / "model", folder / "recipe.yaml"
        self._benchmarks = benchmarks
        self.name_model(self.model)
        self._server = multiprocessing.get_context("forkserver")
        preloaded = ["evalkit.cli", "evalkit.engines.decoding", "evalkit.loading", "lm_eval"]
        self._server.set_forkserver_preload(preloaded)

    def name_model(self, model: Path) -> None:
        """Has the recipe name another folder."""
        content = {
            "name": "Twice",
            "seed": 3,
            "base": {"model": str(model)},
            "engine": {"name": "transformers", "batch_rows": 4},
            "evaluation": {"judge": "rule", "benchmarks": self._benchmarks},
            "card": {"title": "Twice", "license": "mit"},
        }
        self.recipe.write_text(yaml.safe_dump(content))

    def run(self, name: str, kill: Kill | None = None) -> int | None:
        """The exit code of the command in a process of its own."""
        process: BaseProcess = self._server.Process(
            target=run_it, args=(self.recipe, self.folder / name, self.log(name), kill)
        )
        process.start()
        process.join()
        return process.exitcode

    def log(self, name: str) -> Path:
        """Which batches were computed for a run, a line each."""
        return self.folder / f"{name}.log"

    def batches(self, name: str) -> list[str]:
        """The lines of that."""
        return self.log(name).read_text().splitlines() if self.log(name).exists() else []

    def put_model(self, other: Path) -> None:
        """Puts another model where the first was, sizes and times of all files as they were."""
        times = {file.name: file.stat().st_mtime_ns for file in self.model.glob("*")}
        shutil.rmtree(self.model, ignore_errors=True)
        shutil.copytree(other, self.model)
        for file in self.model.glob("*"):
            if file.name in times:
                os.utime(file, ns=(times[file.name], times[file.name]))


@pytest.fixture(scope="module")
def other_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other-llama")
    checkpoints.write_tiny_llama(folder, seed=1)
    return folder


def _results(run: Path) -> dict[str, bytes]:
    """Every file of the evaluation steps."""
    return {
        name: content
        for name, content in runs.contents(run / "steps").items()
        if name.startswith("eval-")
    }


def test_nothing_of_a_model_is_served_to_another_at_its_path(
    tmp_path: Path, tiny_llama: Path, other_llama: Path
) -> None:
    desk = Desk(tmp_path)
    desk.put_model(other_llama)
    assert desk.run("expected") == 0

    desk.put_model(tiny_llama)
    assert desk.run("run") == 0
    first = _results(tmp_path / "run")
    desk.put_model(other_llama)
    assert desk.run("run") == 1, "a finished evaluation of other weights must not pass for done"
    assert _results(tmp_path / "run") == first

    for step in sorted((tmp_path / "run" / "steps").glob("eval-*")):
        shutil.rmtree(step)
    shutil.rmtree(tmp_path / "run" / "steps" / "compare")
    assert desk.run("run") == 0
    assert _results(tmp_path / "run") == _results(tmp_path / "expected") != first


def test_nothing_that_a_killed_run_has_of_a_model_is_served_to_another(
    tmp_path: Path, tiny_llama: Path, other_llama: Path
) -> None:
    desk = Desk(tmp_path)
    desk.put_model(other_llama)
    assert desk.run("expected") == 0
    desk.put_model(tiny_llama)
    assert desk.run("run", Kill("rate", 2, "behind")) == -signal.SIGKILL
    shutil.rmtree(tmp_path / "run" / "steps" / "eval-base-lm_eval_tasks")
    shutil.rmtree(tmp_path / "run" / "steps" / "eval-base-alpaca_eval")
    desk.put_model(other_llama)
    desk.log("run").unlink()
    assert desk.run("run") == 0
    assert sorted(desk.batches("run")) == sorted(desk.batches("expected"))
    assert _results(tmp_path / "run") == _results(tmp_path / "expected")


def test_another_chat_template_is_another_model(tmp_path: Path, tiny_llama: Path) -> None:
    desk = Desk(tmp_path, BENCHMARKS[:1])
    desk.put_model(tiny_llama)
    assert desk.run("run") == 0
    template = desk.model / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|assistant|>", "<|system|>"))
    assert desk.run("run") == 1
    assert desk.run("fresh") == 0
    sha = "chat_template_sha256"
    old, new = (
        json.loads((tmp_path / name / "steps/eval-base-lm_eval_tasks/result.json").read_text())
        for name in ("run", "fresh")
    )
    assert old["provenance"][sha] != new["provenance"][sha]


def test_one_model_under_another_name_is_not_measured_again(
    tmp_path: Path, tiny_llama: Path
) -> None:
    desk = Desk(tmp_path, BENCHMARKS[:1])
    desk.put_model(tiny_llama)
    assert desk.run("run") == 0
    before = len(desk.batches("run"))
    shutil.copytree(desk.model, tmp_path / "elsewhere")
    desk.name_model(tmp_path / "elsewhere")
    shutil.rmtree(desk.model)
    assert desk.run("run") == 0
    assert len(desk.batches("run")) == before


def test_sigkill_while_scoring_generating_and_judging_costs_a_batch_at_most(
    tmp_path: Path, tiny_llama: Path
) -> None:
    desk = Desk(tmp_path)
    desk.put_model(tiny_llama)
    assert desk.run("unbroken") == 0
    kinds = {line.split()[0] for line in desk.batches("unbroken")}
    assert kinds >= {kill.kind for kill in KILLS}
    lost = 0
    for kill in KILLS:
        assert desk.run("broken", kill) == -signal.SIGKILL, kill
        lost += kill.when != "behind"
    assert desk.run("broken") == 0
    assert len(desk.batches("broken")) == len(desk.batches("unbroken")) + lost
    assert runs.unlike(tmp_path / "unbroken", tmp_path / "broken") == []
