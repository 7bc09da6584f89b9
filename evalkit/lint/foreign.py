"""Rules of others: of packages that bring some, and of files of one's own."""

from __future__ import annotations

import importlib.util
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from evalkit.errors import CardError, gist
from evalkit.lint.rule import Rule

GROUP = "evalkit.lint_rules"


def rules_of_packages() -> list[Rule]:
    """What the entry points of the group `evalkit.lint_rules` name.

    Raises:
        CardError: one cannot be loaded, or is no rule.
    """
    found = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        where = f"{point.value} of {point.dist.name if point.dist else 'a package'}"
        try:
            loaded = point.load()
        except Exception as error:
            raise _broken(where, error) from error
        found.append(_checked(loaded, where))
    return found


def rule_of_file(file: Path) -> Rule:
    """The `RULE` of a Python file.

    Raises:
        CardError: there is no such file, its code fails, or it has no rule.
    """
    if not file.is_file():
        raise CardError(f"no file {file} to load a rule from", "give a Python file")
    spec = importlib.util.spec_from_file_location(f"evalkit_rule_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise CardError(f"{file} is no Python file", "give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _broken(str(file), error) from error
    return _checked(getattr(module, "RULE", None), str(file))


def _checked(rule: Any, where: str) -> Rule:
    if not isinstance(rule, Rule):
        raise CardError(
            f"{where} defines no rule", "end it with RULE = Rule(...); docs/card_lint.md shows one"
        )
    return rule


def _broken(where: str, error: Exception) -> CardError:
    told = f"{type(error).__name__}: {gist(error, 90)}"
    return CardError(f"the rule {where} cannot be loaded: {told}", "mend it, or leave it out")
