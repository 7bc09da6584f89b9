"""A folder of task definitions for the harness, read as files: nothing is imported for it."""

import hashlib
import re
from pathlib import Path

from evalkit.benchmarks.lm_eval_data import READERS
from evalkit.errors import Problem
from evalkit.loading import file_digest
from evalkit.yaml_file import syntax_fault

_DATASET_PATH = re.compile(r"^dataset_path: *[\"']?([^\s\"'#]+)", re.MULTILINE)
_INCLUDE = re.compile(r"^include: *[\"']?([^\s\"'#]+)", re.MULTILINE)
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


def reads_files_alone(folder: Path) -> bool:
    """Whether all definitions in a folder are over files, and include no other's."""
    texts = {file: file.read_text("utf-8") for file in folder.rglob("*.yaml")}
    paths = {path for text in texts.values() for path in _DATASET_PATH.findall(text)}
    taken_in = {(file.parent / one).resolve()
                for file, text in texts.items() for one in _INCLUDE.findall(text)}  # fmt: skip
    own = {file.resolve() for file in texts}
    return taken_in <= own and paths <= set(READERS.values())
