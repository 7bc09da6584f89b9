"""Reads and writes PromptGroups, one JSON line each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from evalkit.loading import file_digest
from evalkit.records import PromptGroup, dumps
from evalkit.rundir import read_made_list

GROUPS = "groups.jsonl"


def write_groups(folder: Path, groups: Iterable[PromptGroup]) -> str:
    """Writes `groups.jsonl` into a folder; returns its sha256."""
    file = folder / GROUPS
    with file.open("w", encoding="utf-8") as stream:
        for group in groups:
            stream.write(dumps(group) + "\n")
    return file_digest(file)


def read_groups(folder: Path) -> list[PromptGroup]:
    """The groups of a finished step."""
    return read_made_list(PromptGroup, folder / GROUPS)
