"""A recipe whose training steps run in two processes: same result, same errors, no orphans."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import runs
from test_trainers_trainer import difference, metrics

pytestmark = pytest.mark.slow

MICRO = runs.RECIPES / "micro.yaml"
# sgd, as Adam makes full steps of the last bits of small gradients.
SETTINGS = (
    "--set",
    "stages.0.training.optimizer=sgd",
    "--set",
    "stages.0.training.learning_rate=0.1",
)
LAUNCH = ("--launch", "ddp", "--processes", "2")
TRAIN = "iter1-train"
MOMENT_S = 300


def _words(out: Path, *flags: str) -> list[str]:
    words = [sys.executable, "-m", "evalkit.cli", "train", str(MICRO), "--out", str(out)]
    return [*words, "--until", TRAIN, *SETTINGS, *flags]


def _run(out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_words(out, *flags), capture_output=True, text=True, check=False)


def _at_work(out: Path) -> list[str]:
    """Processes of this machine whose command line names the run."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(out) in words:
            found.append(f"{file.parent.name} {words[:80]}")
    return found


def _wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    until = time.monotonic() + MOMENT_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def test_a_launched_step_fails_dies_resumes_and_equals_one_process(tmp_path: Path) -> None:
    alone, launched = tmp_path / "alone", tmp_path / "launched"
    done = _run(alone)
    assert done.returncode == 0, done.stderr

    # An error that all processes meet is told once, and as it is in one process.
    failed = _run(launched, *LAUNCH, "--set", "stages.0.training.max_length=3")
    assert failed.returncode == 1
    assert failed.stderr.count("nothing to train on") == 1
    assert "hint: raise training.max_length" in failed.stderr
    assert "Traceback" not in failed.stderr

    # However the command dies, the processes that it launched die with it.
    for number, ends in enumerate((signal.SIGKILL, signal.SIGINT)):
        process = subprocess.Popen(_words(launched, *LAUNCH), stderr=subprocess.DEVNULL)
        work = launched / "steps" / f"{TRAIN}.partial" / "scratch" / "work"
        reached = f"checkpoint-{2 + 4 * number}"
        _wait_for(lambda w=work, r=reached: any(w.glob(r)), f"no {reached}")  # type: ignore[misc]
        assert len(_at_work(launched)) >= 4  # the command, accelerate and two ranks
        process.send_signal(ends)
        assert process.wait() == (-signal.SIGKILL if ends is signal.SIGKILL else 130)
        _wait_for(lambda: not _at_work(launched), "orphans")

    again = _run(launched, *LAUNCH)
    assert again.returncode == 0, again.stderr
    one, two = (run / "steps" / TRAIN for run in (alone, launched))
    assert difference(one / "checkpoint", two / "checkpoint") < 1e-5
    assert difference(one / "checkpoint", alone / "steps" / "base" / "checkpoint") > 1e-3
    for a, b in zip(metrics(one), metrics(two), strict=True):
        assert a.pop("padding_factor") and b.pop("padding_factor")  # rows are filled otherwise
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)
    assert {f.name for f in one.iterdir()} == {f.name for f in two.iterdir()}

    # How a step was run is no part of what it made.
    said = _run(launched)
    assert said.returncode == 0 and "nothing to do" in said.stderr
