"""Where memory runs out: the same batch in smaller passes, resumed as if nothing had happened."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trainers_trainer import BASIC, Killed, difference, examples, metrics, run

from evalkit.errors import PrerequisiteError
from evalkit.scoring import PackedBatch, ScoringModel
from evalkit.trainers import memory

# Plain gradient descent: a gradient that was counted twice would be seen.
SETTINGS = BASIC.model_copy(
    update={"optimizer": "sgd", "learning_rate": 1e-2, "max_grad_norm": 0.0, "save_steps": 2}
)
ON_A_GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
ON_A_CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory:"
    " you tried to allocate 8796093022208 bytes. Error code 12 (Cannot allocate memory)"
)


class Killer:
    """A Progress that kills training at a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def __call__(self, done: int, total: int, note: str = "") -> None:
        if note.startswith("training") and done == self._step:
            raise Killed


def fail_where(
    patch: pytest.MonkeyPatch,
    fails: Callable[[PackedBatch], bool],
    error: Exception = ON_A_GPU,
    training: bool = True,
) -> list[int]:
    """Lets forward passes fail; returns a list that receives the tokens of those that do not."""
    plain, seen = ScoringModel.forward, []

    def forward(self: ScoringModel, batch: PackedBatch, *rest: Any, **options: Any) -> Any:
        if torch.is_grad_enabled() == training:
            if fails(batch):
                raise error
            seen.append(batch.input_ids_RT.numel())
        return plain(self, batch, *rest, **options)

    patch.setattr(ScoringModel, "forward", forward)
    return seen


def larger_than(tokens: int) -> Callable[[PackedBatch], bool]:
    return lambda batch: batch.input_ids_RT.numel() > tokens


@pytest.mark.parametrize("error", [ON_A_GPU, ON_A_CPU, MemoryError()], ids=["gpu", "cpu", "python"])
def test_the_batch_is_done_again_in_smaller_passes(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    run(tmp_path / "plain", tiny_llama, SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        seen = fail_where(patch, larger_than(70), error)
        run(tmp_path / "small", tiny_llama, SETTINGS)
    assert max(seen) <= 70
    assert difference(tmp_path / "plain", tmp_path / "small") < 1e-6
    assert difference(tmp_path / "plain", tiny_llama) > 1e-4
    said = capsys.readouterr().err
    assert said.count("note: memory ran out in step 1: it is done again") == 1
    pairs = zip(metrics(tmp_path / "plain"), metrics(tmp_path / "small"), strict=True)
    for one, other in pairs:  # what the failed attempt had measured is not counted
        for name in ("loss", "tokens_per_step", "response_tokens", "grad_norm"):
            assert one[name] == pytest.approx(other[name], rel=1e-4)


def test_gradients_of_passes_that_went_well_are_not_counted_twice(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """The failing pass is the third of a step whose first two have added their gradients."""
    settings = SETTINGS.model_copy(
        update={"batch_size": 7, "micro_batch_size": 2, "warmup_ratio": 0.0}
    )
    run(tmp_path / "plain", tiny_llama, settings)
    calls = 0

    def third(batch: PackedBatch) -> bool:
        nonlocal calls
        calls += 1
        return calls == 3

    with pytest.MonkeyPatch.context() as patch:
        fail_where(patch, third)
        run(tmp_path / "again", tiny_llama, settings)
    assert calls > 3
    moved = difference(tmp_path / "plain", tiny_llama)
    assert difference(tmp_path / "plain", tmp_path / "again") < 1e-4 * moved


def test_a_resumed_run_lays_batches_out_as_before(tiny_llama: Path, tmp_path: Path) -> None:
    """Memory runs out in step 4, once; killed at step 5, step 3 and those after are done again."""
    adam = SETTINGS.model_copy(update={"optimizer": "adamw_torch", "learning_rate": 1e-3})

    def attempt(name: str, **options: Any) -> None:
        calls = 0

        def fourth(batch: PackedBatch) -> bool:  # a pass is a step here
            nonlocal calls
            calls += 1
            return calls == 4

        with pytest.MonkeyPatch.context() as patch:
            fail_where(patch, fourth)
            run(tmp_path / name, tiny_llama, adam, **options)

    attempt("unbroken")
    with pytest.raises(Killed):
        attempt("broken", progress=Killer(5))
    run(tmp_path / "broken", tiny_llama, adam)
    one, other = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("unbroken", "broken")
    )
    assert one == other
    run(tmp_path / "plain", tiny_llama, adam)
    assert difference(tmp_path / "plain", tmp_path / "unbroken") > 0  # rounding tells them apart


def _recomputed(patch: pytest.MonkeyPatch, fails: Callable[[int, bool], bool]) -> list[Any]:
    """Lets passes of so many tokens fail that recompute, or do not; those that went well."""
    plain, seen = ScoringModel.forward, []

    def forward(self: ScoringModel, batch: PackedBatch, *rest: Any, **options: Any) -> Any:
        if torch.is_grad_enabled():
            one = batch.n_slots, self.model.is_gradient_checkpointing
            if fails(*one):
                raise ON_A_GPU
            seen.append(one)
        return plain(self, batch, *rest, **options)

    patch.setattr(ScoringModel, "forward", forward)
    return seen


def test_passes_over_the_budget_recompute_activations(tiny_llama: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"token_budget": 20})
    never = settings.model_copy(update={"gradient_checkpointing": False})
    with pytest.MonkeyPatch.context() as patch:
        seen = _recomputed(patch, lambda slots, recomputed: False)
        run(tmp_path / "auto", tiny_llama, settings)
        assert {recomputed for _, recomputed in seen} == {True, False}
        assert all(recomputed == (slots > 20) for slots, recomputed in seen)
        seen.clear()
        run(tmp_path / "never", tiny_llama, never)
        assert not any(recomputed for _, recomputed in seen)
    assert difference(tmp_path / "auto", tmp_path / "never") == 0


def test_one_example_that_does_not_fit_is_recomputed(tiny_llama: Path, tmp_path: Path) -> None:
    """And gives up only where that does not help, or is not wanted."""
    settings = SETTINGS.model_copy(update={"micro_batch_size": 1})
    run(tmp_path / "plain", tiny_llama, settings)
    with pytest.MonkeyPatch.context() as patch:
        seen = _recomputed(patch, lambda slots, recomputed: slots > 20 and not recomputed)
        run(tmp_path / "auto", tiny_llama, settings)
        assert any(slots > 20 for slots, _ in seen)
        never = settings.model_copy(update={"gradient_checkpointing": False})
        with pytest.raises(PrerequisiteError, match="does not fit"):
            run(tmp_path / "never", tiny_llama, never)
    assert difference(tmp_path / "plain", tmp_path / "auto") == 0


def test_an_example_that_never_fits_says_so(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fail_where(patch, larger_than(20))
        with pytest.raises(PrerequisiteError, match=r"prompt p\d+ with its responses") as error:
            run(tmp_path / "out", tiny_llama, SETTINGS)
    assert "gradient_checkpointing" in error.value.hint


def test_the_reference_pass_gets_smaller_too(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        seen = fail_where(patch, larger_than(70), training=False)
        run(tmp_path / "small", tiny_llama, SETTINGS)
    assert max(seen) <= 70
    assert "the reference pass goes on with at most" in capsys.readouterr().err
    run(tmp_path / "plain", tiny_llama, SETTINGS)
    assert difference(tmp_path / "plain", tmp_path / "small") < 1e-6


def test_other_errors_of_a_pass_stay_what_they_are(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fail_where(
            patch, larger_than(70), RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        )
        with pytest.raises(RuntimeError, match="mat1"):
            run(tmp_path / "out", tiny_llama, SETTINGS)


def test_budgets_hold_from_their_step_on(tmp_path: Path) -> None:
    file = tmp_path / "work" / memory.FILE
    budget = memory.TokenBudget(4096, file)
    budget.lower(7, 1024)
    budget.lower(3, 2048)  # met while steps 3 to 6 are done again: what came after is forgotten
    budget.lower(9, 512)
    for known in (budget, memory.TokenBudget(4096, file)):
        assert [known.at(step) for step in (0, 2, 3, 8, 9, 100)] == [
            4096, 4096, 2048, 2048, 512, 512,
        ]  # fmt: skip


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from dataclasses import replace
from test_trainers_memory import SETTINGS, examples, run
data = [replace(e, continuations=tuple(c * 50 for c in e.continuations)) for e in examples(8)]
settings = SETTINGS.model_copy(update=dict(batch_size=8, token_budget=100_000, warmup_ratio=0.0))
limit = int(sys.argv[3])
def limited(done, total, note=""):
    free = resource.RLIM_INFINITY
    if note == "reference" and limit:  # the first step has this much more than what is held now
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + limit, free))
    elif note.startswith("training"):
        resource.setrlimit(resource.RLIMIT_AS, (free, free))
run(Path(sys.argv[1]), Path(sys.argv[2]), settings, data=data, progress=limited)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS binds on Linux only")
def test_a_real_lack_of_memory(tiny_llama: Path, tmp_path: Path) -> None:
    """The operating system refuses memory, and training ends in the same weights."""
    script = tmp_path / "train_it.py"
    script.write_text(LIMITED.format(tests=str(Path(__file__).parent)))
    said = {}
    for name, limit in (("plain", 0), ("small", 60 << 20)):
        words = [str(script), str(tmp_path / name), str(tiny_llama), str(limit)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        done = subprocess.run(
            [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said[name] = done.stderr
    assert "memory ran out in step 1" in said["small"]
    assert "memory ran out" not in said["plain"]
    moved = difference(tmp_path / "plain", tiny_llama)
    assert moved > 1e-3
    assert difference(tmp_path / "plain", tmp_path / "small") < 1e-4 * moved


TOGETHER = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
import pytest
from test_trainers_memory import SETTINGS, examples, fail_where, larger_than, run
patch = pytest.MonkeyPatch()
if os.environ["RANK"] == "1":  # one example fits, the two of a step do not
    fail_where(patch, larger_than(38))
run(Path(sys.argv[1]), Path(sys.argv[2]), SETTINGS, data=examples(15))
"""


@pytest.mark.slow
def test_processes_decide_alike(tiny_llama: Path, tmp_path: Path) -> None:
    """Memory runs out in the second of two processes only."""
    script = tmp_path / "train_it.py"
    script.write_text(TOGETHER.format(tests=str(Path(__file__).parent)))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [str(script), str(tmp_path / "two"), str(tiny_llama)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, *launch, *words], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, said = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.terminate()  # not killed: it would leave its workers waiting for each other
            raise
    assert process.returncode == 0, said
    assert "memory ran out in step" in said
    run(tmp_path / "one", tiny_llama, SETTINGS, data=examples(15))
    assert difference(tmp_path / "one", tmp_path / "two") < 1e-6
