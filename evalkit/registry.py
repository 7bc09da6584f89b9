"""Finds plug-ins by name, without importing any until one is asked for.

A name is a file of the role's room that has a line `PLUGIN = ...`, an entry
point of group `evalkit.<kind>` of another installed package, or a path to a
Python file of one's own. Names of evalkit's own come first: no package can take them.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from evalkit.errors import EvalkitError, RecipeError, did_you_mean, gist

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
_DOCSTRING = re.compile(r'(?:\s*#[^\n]*\n|\s)*"""(.+?)(?:"""|\n)')


@cache
def names(kind: str) -> tuple[str, ...]:
    """The known names of a kind, sorted; nothing is imported."""
    return tuple(sorted({*_own(kind), *_foreign(kind)}))


def load(kind: str, name: str) -> type[Any]:
    """The plug-in class called `name` (hyphens accepted), or that of a file `./mine.py`.

    Raises:
        RecipeError: there is none (the hint names the nearest), or its code fails.
    """
    if name.endswith(".py"):
        return _from_file(kind, Path(name).expanduser())
    written, name = name, _plain(name)
    if name in _own(kind):
        module = importlib.import_module(f"evalkit.{ROOMS[kind]}.{name}")
        return _checked(kind, name, module.PLUGIN)
    if name in _foreign(kind):
        return _from_package(kind, _foreign(kind)[name])
    raise RecipeError(
        f"no {SINGULAR[kind]} is called '{written}'", did_you_mean(written, names(kind))
    )


def summary(kind: str, name: str) -> str:
    """The first line of a plug-in's module docstring, read without importing it.

    For one of another package, which package it is of, and whether its file is there at all.
    """
    if name.endswith(".py"):
        return _first_line(Path(name).expanduser())
    name = _plain(name)
    if name in _own(kind):
        return _first_line(Path(__file__).parent / ROOMS[kind] / f"{name}.py")
    point, package = _foreign(kind)[name], package_of(kind, name)
    try:  # finding a module imports the packages that it lies in, which may fail
        found = importlib.util.find_spec(point.module)
    except Exception as error:
        return f"(broken, of {package}: {type(error).__name__}: {gist(error, 60)})"
    if found is None:
        return f"(broken, of {package}: there is no module {point.module})"
    line = _first_line(Path(found.origin)) if found.origin else ""
    return f"{line} (of {package})".strip()


def package_of(kind: str, name: str) -> str:
    """Name and version of the other package that brings a plug-in; empty for evalkit's own."""
    point = _foreign(kind).get(_plain(name))
    if point is None:
        return ""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "another package"


@cache
def _own(kind: str) -> frozenset[str]:
    room = Path(__file__).parent / ROOMS[kind]
    files = (f for f in room.glob("*.py") if _PLUGIN_LINE.search(f.read_text("utf-8")))
    return frozenset(file.stem for file in files)


@cache
def _foreign(kind: str) -> dict[str, EntryPoint]:
    points = entry_points(group=f"evalkit.{kind}")
    return {_plain(p.name): p for p in points if _plain(p.name) not in _own(kind)}


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _first_line(file: Path) -> str:
    try:
        match = _DOCSTRING.match(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""
    return match[1].strip() if match else ""


def _from_package(kind: str, point: EntryPoint) -> type[Any]:
    package = point.dist.name if point.dist else "its package"
    try:
        plugin = point.load()
    except EvalkitError:
        raise
    except Exception as error:
        raise RecipeError(
            f"{SINGULAR[kind]} {point.name} of package {package} cannot be loaded: {_told(error)}",
            f"mend or reinstall {package} ({point.value})",
        ) from error
    return _checked(kind, f"{package} ({point.value})", plugin)


def _from_file(kind: str, path: Path) -> type[Any]:
    if not path.is_file():
        hint = "paths are seen from the folder that the command is typed in"
        raise RecipeError(f"no file {path} to load a {SINGULAR[kind]} from", hint)
    module = _module_of(path.resolve(), path.stat().st_mtime_ns, str(path))
    if not hasattr(module, "PLUGIN"):
        raise RecipeError(
            f"{path} has no line PLUGIN = ...", "end it with PLUGIN = its class; docs/plugins.md"
        )
    return _checked(kind, str(path), module.PLUGIN)


@lru_cache(maxsize=64)
def _module_of(path: Path, changed_ns: int, written: str) -> ModuleType:
    """A file as a module, run once as long as it does not change."""
    name = f"evalkit_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look annotations up there
    try:
        spec.loader.exec_module(module)
    except EvalkitError:
        raise
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else 1)
        raise RecipeError(
            f"{written}:{line}  cannot be loaded: {_told(error)}",
            f"try it alone: python {written}",
        ) from error
    return module


def _told(error: Exception) -> str:
    message = error.msg if isinstance(error, SyntaxError) else gist(error, 90)
    return f"{type(error).__name__}: {message}"


def _checked(kind: str, name: str, plugin: Any) -> type[Any]:
    from evalkit import roles

    role = getattr(roles, SINGULAR[kind].capitalize())
    made: Any = plugin
    if not (isinstance(plugin, type) and issubclass(plugin, role)):
        raise RecipeError(
            f"PLUGIN of {name} is not a class derived from roles.{role.__name__}",
            f"docs/plugins.md shows a whole {SINGULAR[kind]}",
        )
    missing = sorted(made.__abstractmethods__)
    if missing:
        raise RecipeError(
            f"{plugin.__name__} of {name} lacks {', '.join(missing)}",
            f"a {SINGULAR[kind]} must have them: see roles.{role.__name__}",
        )
    if not (isinstance(made.Options, type) and issubclass(made.Options, roles.Options)):
        raise RecipeError(
            f"Options of {name} is not a class derived from roles.Options", "derive it from that"
        )
    return plugin
