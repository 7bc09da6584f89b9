"""A log of UKGovernmentBEIS/inspect_ai, `.json` or `.eval`, as one JSON object.

`.eval` is a ZIP archive: `header.json` holds all but `samples/*.json` and `reductions.json`.
Source: inspect_ai, log/_log.py and log/_recorders/eval.py (commit 499e615).
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import RecipeError
from evalkit.importers import reading
from evalkit.metrics.harness import is_number

ZIP_SUFFIX = ".eval"
_HEADER, _REDUCTIONS, _SAMPLES = "header.json", "reductions.json", "samples/"
_LARGEST_BYTES = 1 << 30  # a member that claims more is no sample of an evaluation
_DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError)
# Source: inspect_ai, scorer/_metric.py, value_to_float.
_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


class Log(NamedTuple):
    """What an importer needs of a log; `samples` and `reductions` may be empty."""

    file: Path
    header: Mapping[str, Any]
    samples: tuple[Mapping[str, Any], ...]
    reductions: tuple[Mapping[str, Any], ...]

    def section(self, *keys: str) -> Mapping[str, Any]:
        """What stands under a key, or under one below another; empty where nothing does."""
        value: Any = self.header
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, Mapping) else {}


def is_log(file: Path) -> bool:
    """Whether a file begins, or is packed, as a log of an evaluation."""
    if file.suffix == ZIP_SUFFIX:
        return zipfile.is_zipfile(file)
    if file.suffix != ".json":
        return False
    beginning = reading.head(file).lstrip()[:4096]
    return beginning.startswith("{") and all(
        f'"{key}"' in beginning for key in ("version", "status", "eval", "task")
    )


def read_log(file: Path) -> Log:
    """The log, with its samples where it holds them.

    Raises:
        RecipeError: it is cut off, damaged, or not finished.
    """
    log = _packed(file) if file.suffix == ZIP_SUFFIX else _plain(file)
    for key in ("eval", "status"):
        if key not in log.header:
            raise RecipeError(f"{file} is no log of inspect_ai: it has no '{key}'")
    return log


def number_of(value: Any) -> float | None:
    """A sample's score as inspect_ai's own metrics take it; None for what they cannot average."""
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return float(value) if is_number(value) else None
    known = _GRADES.get(value, _WORDS.get(value.lower()))
    if known is not None:
        return known
    try:
        number = float(value)
    except ValueError:
        return None
    return number if is_number(number) else None


def _plain(file: Path) -> Log:
    value = reading.mapping(file)
    results = value.get("results")
    older = results.get("sample_reductions") if isinstance(results, dict) else None
    return Log(
        file,
        value,
        _objects(value.get("samples"), f"{file}: samples"),
        _objects(value.get("reductions") or older, f"{file}: reductions"),
    )


def _packed(file: Path) -> Log:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if _HEADER not in names:
                raise RecipeError(
                    f"{file} has no {_HEADER}: the evaluation did not finish",
                    "finish it with `inspect eval-retry`, or leave the file out",
                )
            header = _member(archive, _HEADER, file)
            if not isinstance(header, dict):
                raise RecipeError(f"{file}: {_HEADER} holds no object with named values")
            reductions = _member(archive, _REDUCTIONS, file) if _REDUCTIONS in names else None
            samples = [
                name for name in names if name.startswith(_SAMPLES) and name.endswith(".json")
            ]
            return Log(
                file,
                header,
                _objects([_member(archive, name, file) for name in samples], f"{file}: samples"),
                _objects(reductions, f"{file}: {_REDUCTIONS}"),
            )
    except _DAMAGED as error:
        raise RecipeError(f"cannot read {file}: {error}", "is the file complete?") from error


def _member(archive: zipfile.ZipFile, name: str, file: Path) -> Any:
    if archive.getinfo(name).file_size > _LARGEST_BYTES:
        raise RecipeError(f"{file}: {name} unpacks to more than a gigabyte")
    try:
        return json.loads(archive.read(name))
    except ValueError as error:
        raise RecipeError(f"{file}: {name} is not valid JSON: {error}") from error


def _objects(value: Any, where: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(_checked(value, where)) if value is not None else ()


def _checked(value: Any, where: str) -> Iterator[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise RecipeError(f"{where}: this is no list")
    for one in value:
        if not isinstance(one, dict):
            raise RecipeError(f"{where}: one is no object with named values")
        yield one
