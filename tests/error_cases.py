"""What a case of bad input is, and the desk it is typed at; `error_cases_*.py` hold the rows."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

RECIPE = Path(__file__).parent / "recipes" / "plain.yaml"


@dataclass
class Desk:
    """A folder of its own, which is the working directory, with a good recipe and its base.

    checkpoint: a real tiny checkpoint; `base` is a link to it. held: closed when the case ends.
    """

    path: Path
    checkpoint: Path
    patch: pytest.MonkeyPatch
    held: ExitStack = field(default_factory=ExitStack)

    def write(self, name: str, content: str | bytes) -> Path:
        """A file of the desk, with its folders."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def recipe(self, **edits: str) -> None:
        """Replaces texts of the recipe; used where a mistake follows from what is prepared."""
        self.spoil(edits)

    def spoil(self, edits: Mapping[str, str]) -> None:
        """Replaces texts of the recipe, each of which must stand in it."""
        file = self.path / "mine.yaml"
        text = file.read_text("utf-8")
        for old, new in edits.items():
            assert old in text, f"the recipe has no {old!r}"
            text = text.replace(old, new, 1)
        file.write_text(text, "utf-8")

    def own_base(self) -> Path:
        """The base as a copy that may be damaged, instead of a link."""
        base = self.path / "base"
        base.unlink()
        shutil.copytree(self.checkpoint, base)
        return base

    def edit_json(self, name: str, **changes: Any) -> None:
        """Sets keys of a JSON file of the base, which becomes a copy."""
        base = self.path / "base"
        file = (self.own_base() if base.is_symlink() else base) / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@dataclass(frozen=True)
class Case:
    """One mistake: what was typed, what is wrong, and how the command ends.

    edits: texts of the recipe and what stands there instead. prepare: makes the rest of the
        mistake at the desk. may_leave: patterns of files that the command may leave all the same.
    """

    name: str
    command: str = "train-and-publish mine.yaml"
    edits: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Desk], None] | None = None
    code: int = 1
    may_leave: tuple[str, ...] = ()
    slow: bool = False


def desk_at(path: Path, checkpoint: Path, patch: pytest.MonkeyPatch) -> Desk:
    """A new desk in an empty folder."""
    shutil.copyfile(RECIPE, path / "mine.yaml")
    (path / "base").symlink_to(checkpoint)
    return Desk(path, checkpoint, patch)


def closed_port() -> str:
    """An address on this machine where nothing answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
