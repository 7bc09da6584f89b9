"""Reads a recipe from YAML, reporting every mistake at once with file, line and hint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from evalkit.errors import Problem, RecipeError, did_you_mean
from evalkit.recipe import Recipe

KeyPath = tuple[str | int, ...]
STAND_INS = {
    "name": "unnamed",
    "base": {"model": "unnamed/base"},
    "card": {"title": "unnamed", "license": "mit"},
}


class Places(NamedTuple):
    """Where the keys of a file stand: line numbers count from 1."""

    path: Path
    lines: Mapping[KeyPath, int]

    def where(self, key: KeyPath) -> str:
        """`file:line` of a key, or of the nearest key above it that the file has."""
        while key and key not in self.lines:
            key = key[:-1]
        return f"{self.path}:{self.lines.get(key, 1)}"


class RecipeFile(NamedTuple):
    """A valid recipe, and where its keys stand."""

    recipe: Recipe
    places: Places

    def where(self, key: KeyPath) -> str:
        """`file:line` of a key, or of the nearest key above it that the file has."""
        return self.places.where(key)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> RecipeFile:
    """The recipe of a YAML file, after `key=value` overrides (`stages.0.training.epochs=1`).

    Raises:
        RecipeError: the file is missing, no YAML, or wrong; `problems` lists everything wrong.
    """
    data, places = _read(path, overrides)
    try:
        return RecipeFile(Recipe.model_validate(data), places)
    except ValidationError as error:
        items = error.errors(include_url=False)
        raise problems_error([_problem(places, item) for item in items]) from None


def read_intact_sections(path: Path, overrides: Sequence[str] = ()) -> RecipeFile:
    """What is valid of an invalid recipe, section by section, so that it can be checked further.

    Wrong sections are left out; a wrong or missing name, base or card is a harmless stand-in.
    """
    data, places = _read(path, overrides)
    try:
        return RecipeFile(Recipe.model_validate(data), places)
    except ValidationError as error:
        wrong = {item["loc"][0] for item in error.errors(include_url=False)}
    kept = {key: value for key, value in data.items() if key not in wrong}
    return RecipeFile(Recipe.model_validate(STAND_INS | kept), places)


def _read(path: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], Places]:
    data, lines = _read_yaml(path)
    for override in overrides:
        _apply(data, override)
    return data, Places(path, lines)


def problems_error(problems: Sequence[Problem]) -> RecipeError:
    """One error that carries every problem of a recipe."""
    count = len(problems)
    return RecipeError(
        f"the recipe has {count} problem{'s' if count != 1 else ''}", problems=problems
    )


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        near = sorted(str(f) for f in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise RecipeError(
            f"there is no recipe {path}", did_you_mean(str(path), near) if near else ""
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read {path}: {error}") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path} is not a mapping of keys", "see recipes/quickstart.yaml")
    lines: dict[KeyPath, int] = {}
    _collect_lines(root, (), lines, path)
    return data, lines


def _collect_lines(node: Any, key: KeyPath, lines: dict[KeyPath, int], path: Path) -> None:
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, child in node.value:
            if name.value in seen:
                raise RecipeError(f"{path}:{name.start_mark.line + 1}  '{name.value}' stands twice")
            seen.add(name.value)
            lines[(*key, name.value)] = name.start_mark.line + 1
            _collect_lines(child, (*key, name.value), lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for position, child in enumerate(node.value):
            _collect_lines(child, (*key, position), lines, path)


def _apply(data: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise RecipeError(f"--set {override}: not of the form key=value")
    keys = [int(part) if part.isdigit() else part for part in name.split(".")]
    target: Any = data
    for key, following in zip(keys, [*keys[1:], ""], strict=True):
        last = following == ""
        try:
            if last:
                target[key] = yaml.safe_load(text)
            elif isinstance(target, dict):
                target = _section(target, key)
            else:
                target = target[key]
        except (IndexError, TypeError, KeyError):
            raise RecipeError(
                f"--set {override}: the recipe has no {name}", "list items are numbered from 0"
            ) from None
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {override}: not a YAML value: {error}") from error


def _section(target: dict[str, Any], key: str | int) -> Any:
    value = target.setdefault(str(key), {})
    if isinstance(value, str):  # a plug-in given by its bare name is about to get options
        value = target[str(key)] = {"name": value}
    return value


def _problem(places: Places, item: Mapping[str, Any]) -> Problem:
    key: KeyPath = tuple(item["loc"])
    dotted = ".".join(str(part) for part in key)
    where = f"{places.where(key)}  {dotted}"
    if item["type"] == "extra_forbidden":
        known = _fields_at(Recipe, key[:-1])
        return Problem(where, "there is no such key", did_you_mean(str(key[-1]), known))
    if item["type"] == "missing":
        return Problem(where, "this key is missing")
    message = item["msg"].removeprefix("Value error, ")
    return Problem(where, message[:1].lower() + message[1:] + f" (got {_shown(item['input'])})")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(model: type[BaseModel], key: KeyPath) -> list[str]:
    for part in key:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = _model_of(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_of(argument)
        if found:
            return found
    return None
