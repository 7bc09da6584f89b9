"""Reads a recipe from YAML, reporting every mistake at once with file, line and hint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from evalkit.errors import Problem, RecipeError
from evalkit.field_errors import field_errors
from evalkit.recipe import Recipe
from evalkit.recipe_document import Document, KeyPath, apply_overrides
from evalkit.yaml_file import read_mapping

STAND_INS = {
    "name": "unnamed",
    "base": {"model": "unnamed/base"},
    "card": {"title": "unnamed", "license": "mit"},
}
SUFFIXES = (".yaml", ".yml")


class RecipeFile(NamedTuple):
    """A valid recipe, and the document it was read from, which knows what said each key."""

    recipe: Recipe
    document: Document

    def where(self, key: KeyPath) -> str:
        """`file:line`, or the flag, that said a key or the nearest key above it."""
        return self.document.where(key)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> RecipeFile:
    """The recipe of a YAML file, after `key=value` overrides (`stages.0.training.batch_size=8`).

    Raises:
        RecipeError: the file is missing, no YAML, or wrong; `problems` lists everything wrong.
    """
    return validated(read_document(path, overrides))


def read_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """What a YAML file says, after overrides, right or wrong.

    Raises:
        RecipeError: the file is missing or no YAML mapping, or an override cannot be applied.
    """
    data, lines = read_mapping(path)
    document = Document(data, {key: f"{path}:{line}" for key, line in lines.items()})
    apply_overrides(document, overrides)
    return document


def validated(document: Document) -> RecipeFile:
    """The recipe that a document holds.

    Raises:
        RecipeError: it is wrong; `problems` lists everything wrong.
    """
    try:
        return RecipeFile(Recipe.model_validate(document.data), document)
    except ValidationError as error:
        raise problems_error(list(_problems(document, error))) from None


def intact_sections(document: Document) -> RecipeFile:
    """What is valid of an invalid recipe, section by section, so that it can be checked further.

    Wrong sections are left out; a wrong or missing name, base or card is a harmless stand-in.
    """
    try:
        return RecipeFile(Recipe.model_validate(document.data), document)
    except ValidationError as error:
        wrong = {item["loc"][0] for item in error.errors(include_url=False)}
    kept = {key: value for key, value in document.data.items() if key not in wrong}
    return RecipeFile(Recipe.model_validate(STAND_INS | kept), document)


def problems_error(problems: Sequence[Problem]) -> RecipeError:
    """One error that carries every problem of a recipe."""
    count = len(problems)
    return RecipeError(
        f"the recipe has {count} problem{'s' if count != 1 else ''}", problems=problems
    )


def _problems(document: Document, error: ValidationError) -> Iterator[Problem]:
    for key, message, hint in field_errors(Recipe, error, "key"):
        dotted = ".".join(str(part) for part in key)
        yield Problem(f"{document.where(key)}  {dotted}", message, hint)
