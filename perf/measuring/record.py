"""Keeps what a script of this folder measured: with the command, the hardware and versions."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


def keep(
    file: Path, content: Mapping[str, Any], packages: Sequence[str] = (), device: str = "cpu"
) -> None:
    """Writes the figures of this process as JSON.

    packages: whose versions matter.
    """
    facts = {
        "command": " ".join(["python", f"perf/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "hardware": _hardware(device),
        "versions": {name: version(name) for name in packages},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**facts, **content}, indent=1) + "\n")


def _hardware(device: str) -> str:
    cores = f"{len(os.sched_getaffinity(0))} CPU cores"
    if device != "cuda":
        return f"{cores}, {platform.machine()}"
    import torch

    return f"{cores}, {torch.cuda.get_device_name()}"
