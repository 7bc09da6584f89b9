"""Shares one GPU between those who compute on it: an engine's server, a judge, a loaded model."""

from __future__ import annotations

from collections.abc import Callable

from evalkit.pipeline.machine import has_gpu


class Accelerator:
    """One holder at a time: whoever is to compute takes it, and who held it lets go.

    exclusive: default where there is a GPU. Main memory is ample, and sharing it costs nothing.
    """

    def __init__(self, exclusive: bool | None = None) -> None:
        self._exclusive = has_gpu() if exclusive is None else exclusive
        self._holder = ""
        self._let_go: Callable[[], None] = lambda: None

    def take(self, holder: str, let_go: Callable[[], None]) -> None:
        """Makes `holder` the one that computes; `let_go` frees its memory when another takes over.

        Cheap for who holds it already, so that it can stand before every batch.
        """
        if self._exclusive and holder != self._holder:
            self._let_go()
        self._holder, self._let_go = holder, let_go

    def free(self) -> None:
        """Makes whoever holds it let go."""
        self._let_go()
        self._holder, self._let_go = "", lambda: None
