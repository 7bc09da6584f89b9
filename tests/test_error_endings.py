"""Runs that end early for real: Ctrl-C, no memory, a full disk, a Hub that is not there."""

from __future__ import annotations

import os
import re
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import runs
from error_cases import RECIPE, closed_port
from hub_parts import start_server

from evalkit.journal import Journal
from evalkit.rundir import RunDir

pytestmark = pytest.mark.slow
MICRO = runs.RECIPES / "micro.yaml"
MB = 2**20


def _run(words: str, folder: Path, **limits: object) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(runs.ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "evalkit.cli", *shlex.split(words)], cwd=folder, text=True,
        capture_output=True, check=False, **{"env": environment, **limits},
    )  # fmt: skip


def _told(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said that failed as it should."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert " hint: " in done.stderr
    return done.stderr


@pytest.fixture
def desk(tmp_path: Path, tiny_llama: Path) -> Path:
    """A folder with the plain recipe, trained by SFT, and its base."""
    text = RECIPE.read_text().replace("{name: sppo, samples: 2}", "sft")
    text = text.replace("    judge: rule\n", "")
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / "base").symlink_to(tiny_llama)
    return tmp_path


# --- Ctrl-C -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["base", "iter1-responses", "iter1-train"])
def test_ctrl_c_prints_what_goes_on_and_that_ends_as_if_unbroken(
    micro_run: Path, tmp_path: Path, step: str
) -> None:
    words = runs.command(MICRO, tmp_path, "--until", "iter1-train")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if f"] {step}:" in line:
                break
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in said
    shown = re.search(r"interrupted; go on with:\n  evalkit (.+)\n", said)
    assert shown
    assert shlex.split(shown[1]) == words[3:]
    assert not (tmp_path / "run" / "steps" / "iter1-train").exists()
    again = [*words[:3], *shlex.split(shown[1])]
    subprocess.run(again, check=True, capture_output=True)
    assert runs.unlike_steps(micro_run / "run", tmp_path / "run") == []


# --- what the machine lacks ---------------------------------------------------------------------


def _limited(kind: int, size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (size, size))


def test_a_step_without_memory(desk: Path) -> None:
    """A real limit of the address space: torch is loaded, and cannot hold the batch."""
    grown = 'import torch\nfrom evalkit.engines.transformers import TransformersEngine\n\n' \
            'class Large(TransformersEngine):\n    def generate(self, *a):\n' \
            '        return torch.ones(20 * 2**30)\n\nPLUGIN = Large\n'  # fmt: skip
    (desk / "large.py").write_text(grown)
    text = RECIPE.read_text().replace("seed: 3", "seed: 3\nengine: ./large.py")
    (desk / "mine.yaml").write_text(text)
    limit = _limited(resource.RLIMIT_AS, 24 * 1024 * MB)
    said = _told(_run("train mine.yaml --out run", desk, preexec_fn=limit))
    assert "step iter1-responses: there is not enough memory" in said
    assert "batch_rows" in said
    assert RunDir(desk / "run").receipt("iter1-responses") is None


def test_a_file_that_may_not_grow(desk: Path) -> None:
    """Weights do not fit, and the library that writes them speaks no Python: still one line."""
    limit = _limited(resource.RLIMIT_FSIZE, MB // 4)
    said = _told(_run("train mine.yaml --out run", desk, preexec_fn=limit))
    assert "step iter1-train: there is no space left on the disk" in said
    assert RunDir(desk / "run").receipt("iter1-train") is None
    assert _run("train mine.yaml --out run", desk).returncode == 0  # it goes on


def test_a_child_that_the_kernel_kills(desk: Path) -> None:
    killed = 'import os, signal\nfrom evalkit.engines.transformers import TransformersEngine\n\n' \
             'class Killed(TransformersEngine):\n    def generate(self, *a):\n' \
             '        os.kill(os.getpid(), signal.SIGKILL)\n\nPLUGIN = Killed\n'  # fmt: skip
    (desk / "killed.py").write_text(killed)
    text = RECIPE.read_text().replace("seed: 3", "seed: 3\nengine: ./killed.py")
    (desk / "mine.yaml").write_text(text)
    said = _told(_run("train mine.yaml --out run --children always", desk))
    assert "step iter1-responses was killed: most likely there is not enough memory" in said


# --- a base on a Hub ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process, endpoint, _ = start_server(tmp_path_factory.mktemp("errors") / "hub")
    with process:
        yield endpoint
        process.terminate()


def _from_hub(desk: Path, base: str, endpoint: str) -> str:
    text = RECIPE.read_text().replace("{model: base}", base)
    (desk / "mine.yaml").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(runs.ROOT), "HF_ENDPOINT": endpoint,
                   "HF_HOME": str(desk / "home")}  # fmt: skip
    said = _told(_run("train mine.yaml --out run", desk, env=environment))
    assert len(said.splitlines()) < 10
    assert RunDir(desk / "run").receipt("base") is None
    return said


def test_a_base_when_the_hub_is_unreachable(desk: Path) -> None:
    said = _from_hub(desk, "{model: some/model}", closed_port())
    assert "base.model: the model some/model is not in this machine's cache" in said
    assert not (desk / "run").exists()


def test_a_base_that_no_hub_has(desk: Path, hub: str) -> None:
    said = _from_hub(desk, "{model: some/model, revision: v9}", hub)
    assert "base.model: the Hub has no model some/model" in said
    assert not (desk / "run").exists()


# --- damage is mended by what the message says --------------------------------------------------


def test_what_a_damaged_receipt_asks_for_mends_it(desk: Path) -> None:
    assert _run("train mine.yaml --out run", desk).returncode == 0
    receipt = desk / "run/steps/iter1-responses/receipt.json"
    receipt.write_text(receipt.read_text()[:40])
    said = _told(_run("train mine.yaml --out run", desk))
    hint = re.search(r"--redo \S+", said)
    assert hint
    assert _run(f"train mine.yaml --out run {hint[0]}", desk).returncode == 0
    assert "nothing to do" in _run("train mine.yaml --out run", desk).stderr


def test_a_damaged_journal_loses_its_damaged_lines_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "journal.jsonl"
    journal = Journal(file)
    for number in range(3):
        journal.put(f"key{number}", number)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"\0" * 20 + b"\n" + lines[2])
    again = Journal(file)
    assert (again.get("key0"), again.get("key1"), again.get("key2")) == (0, None, 2)
    assert "1 damaged lines" in capsys.readouterr().err
