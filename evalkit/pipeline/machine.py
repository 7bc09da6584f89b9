"""What this machine has: cores, memory, disk, GPUs, tokens; asked without any heavy import."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from evalkit.engines.vllm_environment import find_installed
from evalkit.errors import PrerequisiteError
from evalkit.memory import memory_bytes

# Half-precision weights alone; and with gradients, fp32 weights and two AdamW moments.
# Source: Rajbhandari et al. 2020 (ZeRO), section 3.1: 2 + 2 + 12 bytes a parameter.
BYTES_TO_LOAD, BYTES_TO_TRAIN = 2, 16
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")
HUB_PORT = 8000  # of `evalkit hub serve` and `vllm serve` alike


class Gpu(NamedTuple):
    """One GPU as nvidia-smi tells of it."""

    name: str
    memory_bytes: int
    free_bytes: int
    driver: str


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is there, asked without importing torch."""
    return Path("/proc/driver/nvidia/version").exists()


def describe_machine(folder: Path) -> dict[str, Any]:
    """Everything about this machine, JSON values; no secret's value is among them.

    folder: whose disk counts.
    """
    cards = gpus()
    memory = memory_bytes()
    largest = max((card.memory_bytes for card in cards), default=memory["available"])
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": memory["total"],
        "memory_available_bytes": memory["available"],
        "disk_free_bytes": shutil.disk_usage(folder).free,
        "gpus": [card._asdict() for card in cards],
        "parameters_loadable": largest // BYTES_TO_LOAD,
        "parameters_trainable": largest // BYTES_TO_TRAIN,
        "secrets": secrets(),
        "hub_endpoint": _without_login(os.environ.get("HF_ENDPOINT", "")),
        "hub_offline": os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"),
        "vllm": _vllm(),
        "port_8000_free": port_is_free(HUB_PORT),
    }  # fmt: skip


def _vllm() -> str | None:
    """The vLLM that the vllm engine would use, and the Python that has it."""
    try:
        found = find_installed(None)
    except PrerequisiteError:
        return None
    return f"{found.version} of {found.python}"


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs, none where nvidia-smi is missing or fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    asked = "name,memory.total,memory.free,driver_version"
    words = [command, f"--query-gpu={asked}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    return [
        Gpu(name, int(total) * 2**20, int(free) * 2**20, driver)
        for name, total, free, driver in (row for row in rows if len(row) == 4)
        if total.isdigit() and free.isdigit()
    ]


def secrets() -> list[str]:
    """Names of tokens and keys that are set, and `token file` where `hf auth login` left one."""
    found = [name for name in SECRETS if os.environ.get(name)]
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token")
    return [*found, *(["token file"] if file.is_file() else [])]


def port_is_free(port: int) -> bool:
    """Whether a server could listen on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
