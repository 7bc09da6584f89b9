"""The waits that all requests to one server share.

After a failure everybody waits, and until a request is answered again only one at a time
is tried: a server in trouble is not stormed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MAX_BACKOFF_S = 30.0


class Pacing:
    """When the next request may be sent, for any number of threads.

    backoff_s: the first wait; it doubles with every further failure in a row, up to 30 s.
    per_minute: how many may be sent, evenly spread; None is no limit.
    """

    def __init__(self, backoff_s: float, per_minute: float | None = None) -> None:
        self._backoff_s = backoff_s
        self._interval_s = 60 / per_minute if per_minute else 0.0
        self._next_at = 0.0
        self._changed = threading.Condition()
        self._failures = 0
        self._resume_at = 0.0
        self._trying = False
        self.stopped = False

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Waits until a request may be sent; gives False if none may any more."""
        alone = self._await_turn()
        try:
            yield not self.stopped
        finally:
            if alone:
                with self._changed:
                    self._trying = False
                    self._changed.notify_all()

    def _await_turn(self) -> bool:
        """Returns whether this thread is the one that tries whether the server is back."""
        with self._changed:
            while not self.stopped:
                now = time.monotonic()
                left_s = max(self._resume_at, self._next_at) - now
                if left_s > 0:
                    self._changed.wait(left_s)
                elif self._failures and self._trying:
                    self._changed.wait()
                else:
                    self._next_at = now + self._interval_s
                    self._trying = self._trying or self._failures > 0
                    return self._failures > 0
            return False

    def failed(self, wait_s: float | None = None) -> int:
        """Makes everybody wait, as long as the server says if it does; returns failures in a row.

        Requests that fail together, in one wait, are one failure.
        """
        with self._changed:
            now = time.monotonic()
            if now >= self._resume_at or not self._failures:
                self._failures += 1
                self._resume_at = max(self._resume_at, now + self._jittered_s())
            if wait_s is not None:
                self._resume_at = max(self._resume_at, now + wait_s)
            return self._failures

    def _jittered_s(self) -> float:
        wait_s = min(self._backoff_s * 2.0 ** (self._failures - 1), MAX_BACKOFF_S)
        return wait_s * random.uniform(0.5, 1.0)  # other processes may wait for the same server

    def succeeded(self) -> None:
        """Lets all send again, after a wait that the server has asked for."""
        with self._changed:
            self._failures = 0
            self._changed.notify_all()

    def stop(self) -> None:
        """Wakes everybody up; no more request is sent."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()
