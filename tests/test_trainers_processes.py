"""Training in a process of its own: killed for real at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from test_trainers_trainer import BASIC, examples, run
changes = dict(batch_size=4, optimizer="{optimizer}", save_steps=2, schedule_epochs={epochs}.0)
settings = BASIC.model_copy(update=changes)
if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), settings, data=examples(16))
"""


def write_script(folder: Path, optimizer: str, epochs: int) -> Path:
    file = folder / "train_it.py"
    tests = str(Path(__file__).parent)
    file.write_text(SCRIPT.format(tests=tests, optimizer=optimizer, epochs=epochs))
    return file


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_sigkill_at_random_moments_changes_no_byte(tiny_llama: Path, tmp_path: Path) -> None:
    script = write_script(tmp_path, "adamw_torch", epochs=12)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path / "unbroken"), str(tiny_llama)]
    subprocess.run(command, check=True, env=environment)
    command[2] = str(tmp_path / "broken")
    draw, kills = random.Random(0), 0
    for _ in range(6):
        process = subprocess.Popen(command, env=environment)
        work = tmp_path / "broken-work"
        before = set(work.glob("checkpoint-*"))
        while process.poll() is None and set(work.glob("checkpoint-*")) == before:
            time.sleep(0.005)  # it is at work once there is a new checkpoint
        time.sleep(draw.uniform(0, 0.3))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills > 1
    subprocess.run(command, check=True, env=environment)
    assert files(tmp_path / "broken") == files(tmp_path / "unbroken")
