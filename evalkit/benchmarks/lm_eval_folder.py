"""A folder of task definitions for the harness, read as files: nothing is imported for it."""

import hashlib
import re
from pathlib import Path

from evalkit.errors import Problem
from evalkit.loading import file_digest
from evalkit.yaml_file import syntax_fault

_DECLARATION = re.compile(r"^(?:task|group|tag): *[\"']?([\w.-]+)[\"']?\s*$", re.MULTILINE)


def digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder)
        # Importing a helper leaves its compiled form beside it.
        if "__pycache__" not in name.parts and not any(p.startswith(".") for p in name.parts):
            digest.update(f"{name.as_posix()}\0{file_digest(file)}\n".encode())
    return digest.hexdigest()


def damaged(folder: Path) -> list[Problem]:
    """Task files that are no YAML: the harness would only not know their tasks."""
    faults = ((file, syntax_fault(file)) for file in sorted(folder.rglob("*.yaml")))
    hint = "mend it, or move it elsewhere"
    return [Problem("include_path", fault, hint) for _, fault in faults if fault]


def declared(folder: Path) -> set[str]:
    """Names of tasks, groups and tags that the definitions in a folder begin a line with."""
    return {
        name
        for file in folder.rglob("*.yaml")
        for name in _DECLARATION.findall(file.read_text("utf-8"))
    }
