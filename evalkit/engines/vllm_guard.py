"""Runs a command, and ends it with all its children when the process that asked for it is gone.

    python vllm_guard.py PARENT_PID FOLDER COMMAND...

A server must not outlive evalkit, however evalkit ends: SIGKILL lets no code run. Nor must the
folder of its socket. Only the standard library is imported, as this runs as a script.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

LOOK_EVERY_S = 0.2
GRACE_S = 5.0  # between SIGTERM and SIGKILL


def main(parent: int, folder: str, command: list[str]) -> int:
    """Returns the command's exit status, once nothing of it is left."""
    asked_to_stop = False

    def stop(number: int, frame: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    process = subprocess.Popen(command, process_group=0)
    while process.poll() is None and not asked_to_stop and os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    deadline = time.monotonic() + GRACE_S
    while _signal_group(process, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL):
        time.sleep(LOOK_EVERY_S)
    if os.getppid() != parent:  # who is still there reads the log in it
        shutil.rmtree(folder, ignore_errors=True)
    return process.wait()


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> bool:
    """Signals all that the command started; whether anything of it is still there."""
    process.poll()  # a dead one that nobody has waited for still counts
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
