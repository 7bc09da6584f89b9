"""What tests of the vllm engine share: its Python, checkpoints whose weights differ, requests."""

import random
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.engines.vllm import VllmEngine
from evalkit.loading import weights_digest
from evalkit.records import Checkpoint
from evalkit.roles import GenerationRequest

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
VOCABULARY = 500


def how() -> dict[str, Any]:
    """The option that finds vLLM from any working directory."""
    return {} if find_spec("vllm") else {"python": PYTHON}


def engine(**options: Any) -> VllmEngine:
    """An engine that is to be closed; it runs a server."""
    return VllmEngine(VllmEngine.Options(**{"mode": "server", **how(), **options}))


def checkpoint(folder: Path) -> Checkpoint:
    """A folder as the engine is given it."""
    return Checkpoint("base", str(folder), weights_digest(folder), "float32")


def disturbed(folder: Path, into: Path) -> Path:
    """A copy of a checkpoint with other weights of the same shape."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, into)
    file, draw = into / "model.safetensors", torch.Generator().manual_seed(0)
    weights = {
        name: weight + 0.05 * torch.randn(weight.shape, generator=draw)
        for name, weight in load_file(file).items()
    }
    save_file(weights, file, metadata={"format": "pt"})
    return into


def requests(count: int, n: int = 1, stop: tuple[str, ...] = ()) -> list[GenerationRequest]:
    """Prompts of random tokens, each with its own seed."""
    draw = random.Random(0)
    return [
        GenerationRequest(
            (1, *(draw.randrange(5, VOCABULARY) for _ in range(draw.randint(3, 25)))),
            n, 100 + number, stop,
        )
        for number in range(count)
    ]  # fmt: skip


def processes(word: str) -> list[int]:
    """Processes with a word in their command line."""
    lines = subprocess.run(
        ["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [int(line.split()[0]) for line in lines if word in line]


def group_of(pid: int) -> list[int]:
    """Processes of the session that a process leads: a server's guard, and all it started."""
    lines = subprocess.run(
        ["ps", "-eo", "pid=,sid="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    pairs = [tuple(map(int, line.split())) for line in lines]
    return [own for own, session in pairs if session == pid]


def ignore(done: int, total: int, note: str = "") -> None:
    """No progress is shown."""
