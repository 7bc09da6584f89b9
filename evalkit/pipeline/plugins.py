"""Makes plug-ins from the recipe's references to them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evalkit import registry
from evalkit.errors import PrerequisiteError, Problem, RecipeError
from evalkit.field_errors import field_errors
from evalkit.loading import file_digest
from evalkit.roles import PluginRef


def make(kind: str, ref: PluginRef) -> Any:
    """The plug-in of a kind (`judges`, `schemes`...) with the reference's options.

    Raises:
        RecipeError: no such plug-in, or its options are wrong (`problems` has each, by option).
    """
    plugin = registry.load(kind, ref.name)
    try:
        options = plugin.Options.model_validate(ref.options)
    except ValidationError as error:
        problems = [
            Problem(".".join(map(str, key)), message, hint)
            for key, message, hint in field_errors(plugin.Options, error, "option")
        ]
        raise RecipeError(
            f"options of {registry.SINGULAR[kind]} {ref.name} are wrong", problems=problems
        ) from None
    return plugin(options)


def settings(kind: str, ref: PluginRef) -> dict[str, Any]:
    """What of a plug-in decides a result: name, version and all its options, defaults filled in."""
    plugin = make(kind, ref)
    found = {
        "name": ref.key,
        "version": plugin.version,
        "options": plugin.options.model_dump(mode="json"),
    }
    if kind == "judges" and (engine := plugin.engine()) is not None:
        found["engine"] = settings("engines", engine)
    if ref.name.endswith(".py"):  # somebody's own file: its text is its version
        found["file"] = file_digest(Path(ref.name).expanduser())
    elif package := registry.package_of(kind, ref.name):
        found["package"] = package
    return found


def data_digest(ref: PluginRef) -> str | None:
    """The digest of a source's contents; None where this machine cannot have them.

    Then only a plan can be shown: before any step runs, the checks ask for what is missing.
    """
    try:
        return str(make("sources", ref).description()["digest"])
    except PrerequisiteError:
        return None


def missing_packages(plugin: Any) -> list[Problem]:
    """A problem for each package that the plug-in needs and this environment lacks."""
    return [
        Problem("", f"the Python package '{package}' is not installed", _install(extra), True)
        for package, extra in plugin.requires
        if find_spec(package) is None
    ]


def _install(extra: str) -> str:
    return f"pip install 'evalkit[{extra}]'"
