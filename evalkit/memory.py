"""How much main memory this machine has, asked of the system."""

import os
from pathlib import Path


def memory_bytes() -> dict[str, int]:
    """`total` and `available` main memory; both 0 where the system does not say."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES")
        available = page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return {"total": 0, "available": 0}
    try:  # what Linux itself reckons, caches that it would give up included
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        available = 1024 * int(kilobytes)
    except (OSError, StopIteration, ValueError):
        pass
    return {"total": total, "available": available}
