"""Opens the data that ships with evalkit: `templates/`, `leaderboards/`, launch configs."""

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from evalkit.errors import PrerequisiteError

# The C loader reads the same YAML about ten times as fast, where PyYAML was built with it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def template(name: str) -> str:
    """Text of `templates/<name>`.

    Raises:
        PrerequisiteError: the installation is incomplete.
    """
    return _read("templates", name)


def template_data(name: str) -> Any:
    """What the YAML file `templates/<name>` holds, with the errors of `template`."""
    return yaml.load(template(name), Loader=_Loader)


def leaderboard(name: str) -> str:
    """Text of `leaderboards/<name>`, with the errors of `template`."""
    return _read("leaderboards", name)


def launch_config(name: str) -> Path:
    """The accelerate config `trainers/launch/<name>.yaml`, with the errors of `template`."""
    _read("trainers/launch", f"{name}.yaml")
    return Path(str(folder("trainers/launch").joinpath(f"{name}.yaml")))


def folder(room: str) -> Traversable:
    """The packaged folder `templates`, `leaderboards` or `trainers/launch`."""
    return files("evalkit").joinpath(room)


def digest() -> str:
    """sha256 (hex) over names and contents of all templates and leaderboards."""
    total = hashlib.sha256()
    for room in ("templates", "leaderboards"):
        for name, entry in sorted(_files(folder(room), room)):
            total.update(name.encode() + b"\0" + entry.read_bytes() + b"\0")
    return total.hexdigest()


def _files(entry: Traversable, name: str) -> Iterator[tuple[str, Traversable]]:
    for child in entry.iterdir():
        if child.is_dir():
            yield from _files(child, f"{name}/{child.name}")
        elif not child.name.startswith(("__", ".")):
            yield f"{name}/{child.name}", child


def _read(room: str, name: str) -> str:
    entry = folder(room).joinpath(name)
    if not entry.is_file():
        raise PrerequisiteError(
            f"evalkit's own file {room}/{name} is missing from this installation",
            "reinstall evalkit",
        )
    return entry.read_text(encoding="utf-8")
