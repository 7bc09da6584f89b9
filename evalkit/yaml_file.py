"""Reads a YAML mapping and the lines its keys stand in; what is wrong is told with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from evalkit.errors import RecipeError, did_you_mean, gist
from evalkit.recipe_document import KeyPath

_QUICK_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_mapping(path: Path, what: str = "recipe") -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The data of a YAML file and the line (from 1) of each of its keys.

    what: what the file is, for messages.

    Raises:
        RecipeError: the file is missing, no text, no YAML, no mapping, or has a key twice.
    """
    text = _text(path, what)
    try:
        root = _composed(text)
        lines = _Lines(path)
        if isinstance(root, yaml.MappingNode):
            lines.collect(root)
        data = None if root is None else yaml.SafeLoader("").construct_document(root)
    except yaml.YAMLError as error:
        where = f"{path}:{_line(error)}"
        raise RecipeError(f"{where}  not valid YAML: {fault(error)}", _hint(error)) from None
    except ValueError as error:  # a date that is none, a number of thousands of digits
        raise RecipeError(f"{path}: {gist(error)}", "put it in quotes if it is a text") from None
    if not isinstance(data, dict):
        found = {type(None): "is empty", list: "is a list"}.get(type(data), "is a single value")
        raise RecipeError(
            f"{path} {found}, not a mapping of keys", f"a {what} begins with 'name: ...'"
        )
    return _unshared(data), lines.of


def _composed(text: str) -> yaml.Node | None:
    """A document's nodes; read by the parser in C, which is ten times as fast, if it can be read.

    Raises:
        yaml.YAMLError: it is no YAML; as the parser in Python tells it.
    """
    try:
        return yaml.compose(text, Loader=_QUICK_LOADER)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)


def _unshared(value: Any) -> Any:
    """The same with a copy for every alias, so that changing one place changes no other."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unshared(item) for item in value]
    return value


def syntax_fault(path: Path) -> str:
    """What keeps a file from being YAML, with its line; empty where nothing does."""
    try:
        yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        return f"{path}:{_line(error)}  not valid YAML: {fault(error)}"
    except UnicodeDecodeError:
        return f"{path}  not UTF-8 text"
    return ""


def fault(error: yaml.YAMLError) -> str:
    """What is wrong, and where the part began that it is wrong in."""
    start = getattr(error, "context_mark", None)
    begun = f" (in what begins in line {start.line + 1})" if start else ""
    told = getattr(error, "problem", None) or getattr(error, "reason", None) or gist(error)
    return f"{told}{begun if start and start.line + 1 != _line(error) else ''}"


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        near = sorted(str(f) for f in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = did_you_mean(str(path), near) if near else "give the path of a YAML file"
        raise RecipeError(f"there is no {what} {path}", hint) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RecipeError(f"{path}:{line}  not UTF-8 text", "save it as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}", "check the path") from None


def _line(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark else 1


def _hint(error: yaml.YAMLError) -> str:
    said = fault(error)
    if r"'\t'" in said:
        return "indent with blanks, not with tabs"
    if "special characters" in said:
        return "is this a text file?"
    if "flow" in str(error) or "quoted" in str(error):
        return "is a closing bracket, a comma or a quote missing?"
    return "check how far lines are indented, and quote texts with ': ' or ' #' in them"


class _Lines:
    """The line of every key and item of a document."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.of: dict[KeyPath, int] = {}

    def collect(self, node: Any, key: KeyPath = (), above: tuple[Any, ...] = ()) -> None:
        """Notes the lines of a node and of all below it."""
        line = node.start_mark.line + 1
        if node in above:
            raise self._error(line, "an alias stands within what it names", "remove the '*' there")
        self.of.setdefault(key, line)
        if isinstance(node, yaml.MappingNode):
            self._collect_keys(node, key, above)
        elif isinstance(node, yaml.SequenceNode):
            for position, child in enumerate(node.value):
                self.collect(child, (*key, position), (*above, node))

    def _collect_keys(self, node: Any, key: KeyPath, above: tuple[Any, ...]) -> None:
        seen: dict[str, int] = {}
        for name, child in node.value:
            line = name.start_mark.line + 1
            if not isinstance(name, yaml.ScalarNode):
                raise self._error(line, "a key is no text", "is a quote missing?")
            if name.value in seen:
                message = f"'{name.value}' stands twice, first in line {seen[name.value]}"
                raise self._error(line, message, "remove one of them")
            seen[name.value] = self.of[(*key, name.value)] = line
            self.collect(child, (*key, name.value), (*above, node))
            if name.value == "<<":  # what is merged in was said where its anchor stands
                self.of = {**self._moved((*key, "<<"), key), **self.of}

    def _moved(self, below: KeyPath, to: KeyPath) -> dict[KeyPath, int]:
        depth = len(below)
        lines = {key[depth:]: line for key, line in self.of.items() if key[:depth] == below}
        return {(*to, *key): line for key, line in lines.items() if key}

    def _error(self, line: int, message: str, hint: str) -> RecipeError:
        return RecipeError(f"{self.path}:{line}  {message}", hint)
