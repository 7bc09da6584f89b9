"""Runs the rules over a card."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from evalkit.card_reading import Document, read
from evalkit.errors import CardError, did_you_mean
from evalkit.lint import rules as rules_folder
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.foreign import rule_of_file, rules_of_packages
from evalkit.lint.rule import Rule
from evalkit.markdown import printable

CARD_FILE = "README.md"


@cache
def rules() -> tuple[Rule, ...]:
    """All rules by code: the `RULE` of each file of `rules/`, and those that packages bring.

    Raises:
        CardError: a package's rule cannot be loaded, or takes a code or name that is taken.
    """
    own = [
        importlib.import_module(f"{rules_folder.__name__}.{module.name}").RULE
        for module in pkgutil.iter_modules(rules_folder.__path__)
    ]
    return _together(own, rules_of_packages())


def chosen(ignored: Collection[str] = (), files: Sequence[Path] = ()) -> tuple[Rule, ...]:
    """The rules but those whose code or name is in `ignored`, with those that `files` define.

    Raises:
        CardError: no rule has this code or name, or a file defines none.
    """
    offered = _together(rules(), [rule_of_file(file) for file in files])
    known = {key: rule for rule in offered for key in (rule.code, rule.name)}
    for key in ignored:
        if key not in known:
            raise CardError(f"no rule is called '{key}'", did_you_mean(key, known))
    switched_off = {known[key].code for key in ignored}
    return tuple(rule for rule in offered if rule.code not in switched_off)


def lint(context: Context, applied: Sequence[Rule] | None = None) -> list[Finding]:
    """Findings in line order; what they quote of the card steers no terminal."""
    found = [
        replace(
            finding,
            rule=rule.code,
            severity=finding.severity or rule.severity,
            message=printable(finding.message),
            evidence=printable(finding.evidence),
            fix=printable(finding.fix),
        )
        for rule in (rules() if applied is None else applied)
        for finding in rule.check(context)
    ]
    return sorted(found, key=lambda finding: (finding.line, finding.rule, finding.message))


def mends(context: Context, applied: Sequence[Rule] | None = None) -> Iterator[tuple[Rule, str]]:
    """Each rule that mends something, with the card's text after it and those before it."""
    for rule in rules() if applied is None else applied:
        if rule.mend is None or not any(True for _ in rule.check(context)):
            continue
        text = rule.mend(context)
        if text != context.card.text:
            yield rule, text
            context = replace(context, card=read(text))


def mended(context: Context, applied: Sequence[Rule] | None = None) -> str:
    """The card's text after every mend that is safe; the same text where there is none."""
    texts = [context.card.text, *(text for _, text in mends(context, applied))]
    return texts[-1]


def context_of(
    path: Path, base_cards: Sequence[Document] = (), config: Path | None = None
) -> Context:
    """A card file, or a folder that holds one beside the model's other files.

    config: a config.json that takes the place of the folder's.

    Raises:
        CardError: there is no such file, it is not text, or `config` is no config.json.
    """
    file = path / CARD_FILE if path.is_dir() else path
    folder = path if path.is_dir() else None
    if config is not None:
        values = read_config(config)
    else:
        values = _config(file.parent / "config.json") if folder else {}
    return Context(read(read_text(file)), folder, values, tuple(base_cards))


def read_text(file: Path) -> str:
    """The text of a card.

    Raises:
        CardError: there is no such file, or it is not UTF-8 text.
    """
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CardError(f"cannot read {file}: {why}", "give a card or a folder with one") from None


def read_config(file: Path) -> dict[str, Any]:
    """A config.json that was asked for.

    Raises:
        CardError: there is none, or it is not a JSON object.
    """
    try:
        found = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise CardError(f"cannot read {file}: {error.strerror}", "give a config.json") from None
    except ValueError as error:
        raise CardError(f"{file} is not JSON: {error}", "give a config.json") from None
    if not isinstance(found, dict):
        raise CardError(f"{file} holds no JSON object", "give a config.json")
    return found


def _config(file: Path) -> dict[str, Any]:
    try:
        return read_config(file)
    except CardError:
        return {}


def _together(known: Sequence[Rule], added: Sequence[Rule]) -> tuple[Rule, ...]:
    """Rules by code.

    Raises:
        CardError: one that is added has a code or name of another.
    """
    taken = {key: rule for rule in known for key in (rule.code, rule.name)}
    for rule in added:
        for key in (rule.code, rule.name):
            other = taken.setdefault(key, rule)
            if other is not rule:
                raise CardError(
                    f"two rules are called {key}: {other.name} and {rule.name}",
                    "give the added one another code and name",
                )
    return tuple(sorted((*known, *added), key=lambda rule: rule.code))
