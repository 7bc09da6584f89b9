"""Time and memory of a piece of work in this process, for the scripts of this folder."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Meter:
    """Time and peak memory between two moments, in seconds and bytes."""

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        if self._cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
            self._before = _status_bytes("VmRSS")

    def peak_bytes(self) -> int:
        """The most memory held since the start, above what was held then."""
        peak = torch.cuda.max_memory_allocated() if self._cuda else _status_bytes("VmHWM")
        return peak - self._before

    def seconds(self, work: Callable[[], Any]) -> float:
        """How long some work takes."""
        started = time.perf_counter()
        work()
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - started


def _status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(key)))
