"""Runs the rules over a card."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from evalkit.card_reading import Document, read
from evalkit.errors import CardError, did_you_mean
from evalkit.lint import rules as rules_folder
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

CARD_FILE = "README.md"


@cache
def rules() -> tuple[Rule, ...]:
    """All rules by code; each is the `RULE` of one file of `rules/`."""
    found = [
        importlib.import_module(f"{rules_folder.__name__}.{module.name}").RULE
        for module in pkgutil.iter_modules(rules_folder.__path__)
    ]
    return tuple(sorted(found, key=lambda rule: rule.code))


def chosen(ignored: Collection[str] = ()) -> tuple[Rule, ...]:
    """The rules but those whose code or name is in `ignored`.

    Raises:
        CardError: no rule has this code or name.
    """
    known = {key: rule for rule in rules() for key in (rule.code, rule.name)}
    for key in ignored:
        if key not in known:
            raise CardError(f"no rule is called '{key}'", did_you_mean(key, known))
    switched_off = {known[key].code for key in ignored}
    return tuple(rule for rule in rules() if rule.code not in switched_off)


def lint(context: Context, applied: Sequence[Rule] | None = None) -> list[Finding]:
    """Findings in line order."""
    found = [
        replace(finding, rule=rule.code, severity=finding.severity or rule.severity)
        for rule in (rules() if applied is None else applied)
        for finding in rule.check(context)
    ]
    return sorted(found, key=lambda finding: (finding.line, finding.rule, finding.message))


def mended(context: Context, applied: Sequence[Rule] | None = None) -> str:
    """The card's text after every mend that is safe; the same text where there is none."""
    for rule in rules() if applied is None else applied:
        if rule.mend is not None and any(True for _ in rule.check(context)):
            context = replace(context, card=read(rule.mend(context)))
    return context.card.text


def context_of(path: Path, base_cards: Sequence[Document] = ()) -> Context:
    """A card file, or a folder that holds one beside the model's other files.

    Raises:
        CardError: there is no such file, or it is not text.
    """
    file = path / CARD_FILE if path.is_dir() else path
    folder = path if path.is_dir() else None
    config = _config(file.parent / "config.json") if folder else {}
    return Context(read(read_text(file)), folder, config, tuple(base_cards))


def read_text(file: Path) -> str:
    """The text of a card.

    Raises:
        CardError: there is no such file, or it is not UTF-8 text.
    """
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CardError(f"cannot read {file}: {why}", "give a card or a folder with one") from None


def _config(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
