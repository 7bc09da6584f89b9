"""What importers read other tools' files with, and how they say what was read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from evalkit.json_rows import first_row as first_row
from evalkit.json_rows import head as head
from evalkit.json_rows import mapping as mapping
from evalkit.json_rows import number as number
from evalkit.json_rows import rows as rows
from evalkit.json_rows import text as text

_SUFFIXES = (".gz", ".jsonl", ".json")


def origin(tool: str, file: Path, model: str) -> dict[str, str]:
    """What provenance says under `imported`: no folder of this machine is named."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"tool": tool, "file": file.name, "sha256": digest, "model": model}


def stem(file: Path) -> str:
    """A file's name without `.jsonl.gz` and the like."""
    name = file.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name
