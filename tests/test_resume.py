"""Killed at random moments, the same command ends where an unbroken run ends.

Everything but the declared volatile facts must be identical, byte for byte.
"""

import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import runs

MICRO = runs.RECIPES / "micro.yaml"
QUICKSTART = runs.ROOT / "recipes" / "quickstart.yaml"


def _run_and_kill(recipe: Path, folder: Path, after_s: float, *flags: str) -> bool:
    """Whether the run was still going when it was killed."""
    with subprocess.Popen(
        runs.command(recipe, folder, *flags), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return True
    assert process.returncode == 0
    return False


def _same_after_kills(
    recipe: Path, unbroken: Path, broken: Path, moments_s: Sequence[float]
) -> None:
    kills = sum(_run_and_kill(recipe, broken, after_s) for after_s in moments_s)
    assert kills, "no kill hit: the moments are too late for this machine"
    runs.finish(recipe, broken)
    assert runs.unlike(unbroken / "run", broken / "run") == []
    print(f"{kills} kills of {len(moments_s)} hit")


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_identical(micro_run: Path, tmp_path: Path) -> None:
    moments = random.Random(7)
    _same_after_kills(MICRO, micro_run, tmp_path, [moments.uniform(3, 14) for _ in range(7)])


@pytest.mark.slow
def test_killed_with_steps_in_child_processes_it_ends_identical(
    micro_run: Path, tmp_path: Path
) -> None:
    # Each child pays for its imports, so the road ends early here.
    flags = ("--children", "always", "--until", "iter2-w4a16_gptq")
    kills = sum(_run_and_kill(MICRO, tmp_path, after_s, *flags) for after_s in (5, 13))
    assert kills
    runs.finish(MICRO, tmp_path, *flags)
    assert runs.unlike_steps(micro_run / "run", tmp_path / "run") == []


@pytest.mark.slow
def test_a_finished_run_does_nothing_and_says_so(micro_run: Path) -> None:
    before = runs.contents(micro_run / "run")
    started = time.monotonic()
    said = runs.finish(MICRO, micro_run)
    print(f"second run: {time.monotonic() - started:.2f} s")
    assert "nothing to do" in said.stderr
    assert runs.contents(micro_run / "run") == before


@pytest.mark.slow
def test_redo_makes_a_step_and_what_depends_on_it_again(micro_run: Path, tmp_path: Path) -> None:
    runs.finish(MICRO, tmp_path)
    said = runs.finish(MICRO, tmp_path, "--redo", "iter2-fp8_dynamic")
    assert "] iter2-fp8_dynamic:" in said.stderr
    assert "] eval-iter2-fp8_dynamic-mt_bench:" in said.stderr
    assert "] iter2-train:" not in said.stderr
    assert runs.unlike(micro_run / "run", tmp_path / "run") == []


@pytest.mark.soak
def test_the_quickstart_killed_at_random_moments_ends_identical(tmp_path: Path) -> None:
    runs.finish(QUICKSTART, tmp_path / "unbroken")
    broken = tmp_path / "broken"
    assert _run_and_kill(QUICKSTART, broken, 20)  # while the base is built, which starts over
    runs.finish(QUICKSTART, broken, "--until", "base")
    moments = random.Random(11)
    moments_s = [moments.uniform(3, 14) for _ in range(14)]
    _same_after_kills(QUICKSTART, tmp_path / "unbroken", broken, moments_s)
