"""Writes that survive SIGKILL at any byte: to a draft, synced, renamed, folder synced.

A draft's name is fixed, so that a write which was killed leaves nothing once it is repeated.
Threads of one process may write the same file; processes that may do so hold it with `locked`.
"""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError, gist

_WRITING = threading.Lock()  # two threads must not share a draft


def write_bytes(file: Path, content: bytes, mode: int = 0o644) -> None:
    """Makes `file` hold exactly `content`, or leaves it as it was; makes its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    with _WRITING:
        draft.unlink(missing_ok=True)  # of a killed write, and perhaps of another mode
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            move(draft, file)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def write_text(file: Path, text: str, mode: int = 0o644) -> None:
    """Makes `file` hold `text` in UTF-8, or leaves it as it was."""
    write_bytes(file, text.encode(), mode)


def write_json(file: Path, value: Any, mode: int = 0o644) -> None:
    """Makes `file` hold `value` as canonical JSON, or leaves it as it was.

    Raises:
        ValueError: `value` holds a number that is not finite.
    """
    write_text(file, json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False), mode)


def read_json(file: Path, default: Any = None, *, hint: str = "") -> Any:
    """The JSON value in `file`, `default` where there is no such file.

    hint: what to do if it is damaged.

    Raises:
        RecipeError: the file is damaged.
    """
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:  # also of bytes that are no UTF-8
        raise damaged(file, error, hint) from None


def damaged(file: Path, error: Exception, hint: str) -> RecipeError:
    """The error of a file that cannot be read back as what evalkit once wrote there."""
    what = "is not of this version of evalkit" if isinstance(error, TypeError) else "is damaged"
    return RecipeError(
        f"{file} {what}: {gist(error, 90)}", hint or "restore it from a copy, or remove it"
    )


def move(source: Path, target: Path) -> None:
    """Renames over `target` and makes the rename itself durable."""
    source.replace(target)
    sync_folder(target.parent)


def sync_tree(folder: Path) -> None:
    """Makes everything in `folder` durable: what each file holds, then their names."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(place, name))
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in `folder` durable."""
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Holds `file` against other processes (and threads) that also ask for it here."""
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
