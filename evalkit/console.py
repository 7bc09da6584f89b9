"""What people see on stderr: progress and messages; stdout is left to results.

Bars on a terminal, one line per 30 s in a log file, silent on every rank but 0.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from evalkit.errors import EvalkitError, Problem

if TYPE_CHECKING:
    from evalkit.roles import Progress

LOG_INTERVAL_S = 30.0
SCREEN_COLUMNS = 118
COLUMNS = 100
BESIDE_COLUMNS = 84  # of what is said behind file, line and key


def rank() -> int:
    """Which process of a distributed run this is; 0 of a run of one."""
    return int(os.environ.get("RANK", "0"))


def is_rank_zero() -> bool:
    """Whether this process may speak and write: the first of a distributed run, or the only one."""
    return rank() == 0


def say(message: str) -> None:
    """Prints one line to stderr."""
    if is_rank_zero():
        print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Prints what may spoil a result and stops nothing, to stderr."""
    say(_wrapped(f"warning: {message}", "  "))


def print_error(error: EvalkitError) -> None:
    """Prints an error for people: what is wrong, every single problem, what to do."""
    for number, line in enumerate(error.message.splitlines()):
        print(_wrapped(f"error: {line}" if number == 0 else line, "    "), file=sys.stderr)
    _print_problems(error.problems)
    if error.hint:
        _print_hint(error.hint, " ")


def print_lacking(problems: Sequence[Problem]) -> None:
    """Prints what a planned run would need that this machine does not have."""
    if problems:
        print("note: to run this plan, this machine lacks", file=sys.stderr)
        _print_problems(problems)


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        where = f"{problem.where}: " if problem.where else ""
        # Beside an absolute path a line is wider than a screen anyway.
        room = BESIDE_COLUMNS if len(where) > SCREEN_COLUMNS // 2 else SCREEN_COLUMNS - len(where)
        message = _wrapped(problem.message, "      ", room)
        print(f"  {where}{message}", file=sys.stderr)
        if problem.hint:
            _print_hint(problem.hint, "    ")


def _print_hint(hint: str, indent: str) -> None:
    print(_wrapped(f"{indent}hint: {hint}", indent + "      "), file=sys.stderr)


def _wrapped(text: str, below: str, columns: int = COLUMNS) -> str:
    """Text for one screen's width; long words such as paths stay whole."""
    return textwrap.fill(
        text, columns, subsequent_indent=below, break_long_words=False, break_on_hyphens=False
    )


def no_progress(done: int, total: int, note: str = "") -> None:
    """A Progress that shows nothing."""


@contextmanager
def progress_line(title: str) -> Iterator[Progress]:
    """A Progress for one step: a live bar on a terminal, timed lines elsewhere."""
    if not is_rank_zero():
        yield no_progress
    elif sys.stderr.isatty():
        with _bar(title) as progress:
            yield progress
    else:
        yield _TimedLines(title)


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class NotedBars(Bars):
        """Bars with their notes below, where these have the whole width of the screen."""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            for note in (str(task.fields["note"]) for task in self.tasks):
                if note:
                    yield Text(f"    {note}", style="dim", no_wrap=True, overflow="ellipsis")

    columns: list[Any] = [
        TextColumn("  {task.description:<28}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    ]
    with NotedBars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None, note="")

        def progress(done: int, total: int, note: str = "") -> None:
            bars.update(task, completed=done, total=total, note=note)

        yield progress


class _TimedLines:
    def __init__(self, title: str) -> None:
        self.title = title
        self.last_s = time.monotonic()

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self.last_s >= LOG_INTERVAL_S:
            self.last_s = now
            say(f"  {self.title}: {done}/{total} {note}".rstrip())


@contextmanager
def no_foreign_bars() -> Iterator[None]:
    """A block in which libraries draw no tqdm bars of their own; needs tqdm.

    TQDM_DISABLE is not enough: some pass `disable` themselves.
    """
    import tqdm  # type: ignore[import-untyped]

    original = tqdm.std.tqdm.__init__

    def disabled(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **{**options, "disable": True})

    tqdm.std.tqdm.__init__ = disabled
    try:
        yield
    finally:
        tqdm.std.tqdm.__init__ = original
