"""Reads other tools' JSON and JSON lines, compressed or not; says which row of which is wrong."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError

_HEAD_CHARACTERS = 1 << 20
_LARGEST = 1e300  # beyond it, sums and squares are no numbers any more
_UNREADABLE = (OSError, EOFError, UnicodeDecodeError, zlib.error)


def head(file: Path) -> str:
    """The first million characters; empty for what is no text."""
    try:
        with _opener(file)(file, "rt", encoding="utf-8") as stream:
            return str(stream.read(_HEAD_CHARACTERS))
    except _UNREADABLE:
        return ""


def first_row(file: Path) -> Mapping[str, Any]:
    """The first object of a file of JSON lines; empty for anything else."""
    line = head(file).lstrip().partition("\n")[0]
    try:
        row = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def text(file: Path) -> str:
    """The whole text.

    Raises:
        RecipeError: it cannot be read, or is no text.
    """
    try:
        with _opener(file)(file, "rt", encoding="utf-8") as stream:
            return str(stream.read())
    except _UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"cannot read {file}: {reason}", "is the file complete?") from error


def placed_rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a JSON list, or of JSON lines, each with where it stands.

    Raises:
        RecipeError: the file is damaged, empty, or holds something else.
    """
    content = text(file)
    if content.lstrip().startswith("["):
        found = [(f"{file}: row {n}", row) for n, row in enumerate(parsed(content, str(file)), 1)]
    else:
        found = [
            (f"{file}:{number}", parsed(line, f"{file}:{number}"))
            for number, line in enumerate(content.split("\n"), 1)
            if line.strip()
        ]
    for where, row in found:
        if not isinstance(row, dict):
            raise RecipeError(f"{where}: this is no object with named values")
    if not found:
        raise RecipeError(f"{file} holds no results")
    return found


def rows(file: Path) -> list[dict[str, Any]]:
    """The objects of `placed_rows` alone."""
    return [row for _, row in placed_rows(file)]


def mapping(file: Path) -> dict[str, Any]:
    """The one JSON object in a file.

    Raises:
        RecipeError: the file is damaged, or holds something else.
    """
    value = parsed(text(file), str(file))
    if not isinstance(value, dict):
        raise RecipeError(f"{file} holds no object with named values")
    return value


def number(row: Mapping[str, Any], key: str, where: str) -> float | None:
    """A row's number, None for null; NaN, which marks what is missing, is one.

    Raises:
        RecipeError: the value is missing, or something else.
    """
    if key not in row:
        raise RecipeError(f"{where} has no '{key}'")
    value = row[key]
    if value is None:
        return None
    a_number = isinstance(value, int | float) and not isinstance(value, bool)
    if a_number and not abs(value) > _LARGEST:  # of NaN, no comparison holds
        return float(value)
    raise RecipeError(f"{where}: '{key}' is {_short(value)}, which is no number")


def finite(row: Mapping[str, Any], key: str, where: str) -> float | None:
    """The same, NaN refused too."""
    value = number(row, key, where)
    if value is None or math.isfinite(value):
        return value
    raise RecipeError(f"{where}: '{key}' is {value}, which is no number")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def parsed(content: str, where: str) -> Any:
    """JSON; what is none is told with where it stands.

    Raises:
        RecipeError: this is no JSON.
    """
    try:
        return json.loads(content)
    except ValueError as error:
        raise RecipeError(f"{where}: this is not valid JSON: {error}") from error


def _opener(file: Path) -> Any:
    return gzip.open if file.suffix == ".gz" else open
