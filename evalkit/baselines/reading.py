"""Reads the files of this room's data; what is wrong with one is told with file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalkit.errors import Problem, RecipeError
from evalkit.field_errors import field_errors
from evalkit.recipe_document import KeyPath
from evalkit.yaml_file import read_mapping

M = TypeVar("M", bound="Closed")

Day = Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?$")]
Url = Annotated[str, Field(pattern=r"^https://\S+$")]


class Closed(BaseModel):
    """A part of a file: no key but its own, and no change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read(path: Path, kind: type[M]) -> M:
    """The file's contents as a `kind`.

    Raises:
        RecipeError: it is no YAML mapping, or holds something else; with every problem found.
    """
    data, lines = read_mapping(path, kind.__name__)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = [
            Problem(f"{path}:{_line(lines, key)}  {'.'.join(map(str, key))}", message, hint)
            for key, message, hint in field_errors(kind, error, "key")
        ]
        raise RecipeError(
            f"{path} holds wrong facts of published models", problems=problems
        ) from None


def _line(lines: dict[KeyPath, int], key: KeyPath) -> int:
    """The line of a key, or of the nearest above it that the file has."""
    while key and key not in lines:
        key = key[:-1]
    return lines.get(key, 1)
