"""Finds plug-ins by name, without importing any until one is asked for.

A name is a file of the role's room that has a line `PLUGIN = ...`, an entry
point of group `evalkit.<kind>` of another installed package, or a path to a
Python file of one's own.
"""

import importlib
import importlib.util
import re
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError, did_you_mean

ROOMS = {
    "methods": "trainers",
    "engines": "engines",
    "judges": "judges",
    "benchmarks": "benchmarks",
    "schemes": "quantize",
    "sources": "sources",
    "builders": "builders",
    "importers": "importers",
}
SINGULAR = {kind: kind.removesuffix("s") for kind in ROOMS}
_PLUGIN_LINE = re.compile(r"^PLUGIN\b.*=", re.MULTILINE)


@cache
def names(kind: str) -> tuple[str, ...]:
    """The known names of a kind, sorted; nothing is imported."""
    room = Path(__file__).parent / ROOMS[kind]
    own = (f.stem for f in room.glob("*.py") if _PLUGIN_LINE.search(f.read_text("utf-8")))
    foreign = (point.name for point in entry_points(group=f"evalkit.{kind}"))
    return tuple(sorted({*own, *foreign}))


def load(kind: str, name: str) -> type[Any]:
    """The plug-in class called `name` (hyphens accepted), or that of a file `./mine.py`.

    Raises:
        RecipeError: there is none; the hint names the nearest.
    """
    if name.endswith(".py"):
        return _from_file(kind, Path(name))
    written, name = name, name.replace("-", "_")
    for point in entry_points(group=f"evalkit.{kind}", name=name):
        return _checked(kind, name, point.load())
    if name not in names(kind):
        raise RecipeError(
            f"no {SINGULAR[kind]} is called '{written}'", did_you_mean(written, names(kind))
        )
    module = importlib.import_module(f"evalkit.{ROOMS[kind]}.{name}")
    return _checked(kind, name, module.PLUGIN)


def summary(kind: str, name: str) -> str:
    """The first line of a plug-in's module docstring, read without importing it."""
    file = Path(__file__).parent / ROOMS[kind] / f"{name}.py"
    if not file.is_file():
        return ""
    match = re.match(r'\s*"""(.+?)(?:"""|\n)', file.read_text("utf-8"))
    return match[1].strip() if match else ""


def _from_file(kind: str, path: Path) -> type[Any]:
    if not path.is_file():
        raise RecipeError(f"no file {path} to load a {SINGULAR[kind]} from")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "PLUGIN"):
        raise RecipeError(f"{path} has no line PLUGIN = ...", "name its class with PLUGIN")
    return _checked(kind, str(path), module.PLUGIN)


def _checked(kind: str, name: str, plugin: Any) -> type[Any]:
    from evalkit import roles

    role = getattr(roles, SINGULAR[kind].capitalize())
    if not (isinstance(plugin, type) and issubclass(plugin, role)):
        raise RecipeError(f"PLUGIN of {name} is not a class derived from roles.{role.__name__}")
    return plugin
