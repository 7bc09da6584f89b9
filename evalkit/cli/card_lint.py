"""`evalkit card lint` and `evalkit card rules`: what is wrong with anybody's card, and why."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli.app import FILE, echo_json
from evalkit.cli.cards import card
from evalkit.cli.options import Command, json_flag, option

if TYPE_CHECKING:
    from evalkit.card_reading import Document
    from evalkit.lint import Context, Finding, Rule
    from evalkit.lint.card_file import Change


MANY = 32  # cards from which on all cores share them


@dataclass(frozen=True)
class _How:
    """What the flags say of all cards."""

    ignore: tuple[str, ...]
    rule_files: tuple[Path, ...]
    base_cards: tuple[str, ...]
    config: Path | None
    fix: bool


@dataclass(frozen=True)
class _Linted:
    """A card as it was asked for, and what lint says of it.

    revision: of one on the Hub. problem: why it could not be read, or not be mended.
    """

    card: str
    file: str
    revision: str | None
    findings: list[Finding]
    changes: list[Change]
    problem: str = ""

    def count(self, severity: str) -> int:
        """How many findings of a severity there are."""
        return sum(one.severity == severity for one in self.findings)


@card.command("lint", cls=Command)
@click.argument("cards", nargs=-1, required=True, metavar="CARD...")
@option(
    "--base-card",
    "base_cards",
    multiple=True,
    metavar="CARD",
    help="The card of a base of these: a file, folder or Hub id.",
)
@option(
    "--config",
    type=FILE,
    metavar="FILE",
    help="The model's config.json, where it does not lie beside the card.",
)
@option("--ignore", multiple=True, metavar="RULE", help="Leave a rule out: its code or name.")
@option(
    "--rule",
    "rule_files",
    multiple=True,
    type=FILE,
    metavar="FILE.py",
    help="Also apply the rule of this file.",
)
@option("--fix", is_flag=True, help="Mend what can safely be mended, and say what was changed.")
@option("--strict", is_flag=True, help="Exit with 1 on warnings, too.")
@json_flag
def lint_cards(
    cards: tuple[str, ...],
    base_cards: tuple[str, ...],
    config: Path | None,
    ignore: tuple[str, ...],
    rule_files: tuple[Path, ...],
    fix: bool,
    strict: bool,
    as_json: bool,
) -> int:
    """Find what is wrong with anybody's model cards; exit code 1 if one has an error.

    CARD is a file, a model's folder (its config.json and files are looked at, too), or a Hub id
    (owner/name, or owner/name@revision). Nothing else is asked of any server.
    """  # fmt: skip
    how = _How(ignore, rule_files, base_cards, config, fix)
    rules, _ = _applied(how)  # before any card is read: what is wrong with the flags
    found = _all_linted(cards, how)
    if as_json:
        echo_json({"cards": [_as_json(one) for one in found]})
    else:
        for line in _shown(found, {rule.code: rule for rule in rules}):
            click.echo(line)
    worst = ("error", "warning") if strict else ("error",)
    return int(any(one.problem or any(map(one.count, worst)) for one in found))


@card.command("rules", cls=Command)
@click.argument("name", required=False)
@json_flag
def show_rules(name: str | None, as_json: bool) -> None:
    """Say which rules `card lint` applies, or all about the one with a code or NAME."""
    from evalkit.errors import CardError, did_you_mean
    from evalkit.lint import rules

    known = {key: rule for rule in rules() for key in (rule.code, rule.name)}
    if name is not None and name not in known:
        raise CardError(f"no rule is called '{name}'", did_you_mean(name, known))
    shown = list(rules()) if name is None else [known[name]]
    if as_json:
        echo_json({"rules": [_described(rule) for rule in shown]})
    elif name is None:
        for rule in shown:
            click.echo(f"{rule.code}  {rule.severity:<8} {rule.name}")
            click.echo(click.wrap_text(rule.summary, 96, " " * 16, " " * 16))
    else:
        click.echo("\n".join(_page(shown[0])))


def _all_linted(names: Sequence[str], how: _How) -> list[_Linted]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if len(names) == 1:
        return [_linted(names[0], how)]
    if len(names) < MANY or not cores or cores == 1:
        return [_one_of_many(name, how) for name in names]
    with ProcessPoolExecutor(cores) as pool:
        return list(pool.map(partial(_one_of_many, how=how), names, chunksize=MANY // 4))


def _one_of_many(name: str, how: _How) -> _Linted:
    """As `_linted`, but a card that cannot be read does not keep the others from being told."""
    from evalkit.errors import EvalkitError

    try:
        return _linted(name, how)
    except EvalkitError as error:
        return _Linted(name, name, None, [], [], problem=str(error))


@cache
def _applied(how: _How) -> tuple[Sequence[Rule], list[Document]]:
    """The rules to apply, and the cards of the bases."""
    from evalkit.lint import chosen

    rules = chosen(how.ignore, how.rule_files)
    return rules, [_context_of(name)[0].card for name in how.base_cards]


def _linted(name: str, how: _How) -> _Linted:
    from evalkit.errors import CardError
    from evalkit.lint import context_of, lint
    from evalkit.lint.card_file import mend_file
    from evalkit.lint.linting import CARD_FILE

    rules, bases = _applied(how)
    context, revision = _context_of(name, bases, how.config)
    changes: list[Change] = []
    file = Path(name) / CARD_FILE if Path(name).is_dir() else Path(name)
    if how.fix:
        if revision is not None:
            hint = f"hf download {name.partition('@')[0]} --local-dir FOLDER"
            raise CardError(f"{name} lies on the Hub, where --fix changes nothing", hint)
        changes = mend_file(file, context, rules)
        context = context_of(Path(name), bases, how.config) if changes else context
    shown = f"{name}/{CARD_FILE}" if revision is not None else str(file)
    return _Linted(name, shown, revision, lint(context, rules), changes)


def _context_of(
    name: str, bases: Sequence[Document] = (), config: Path | None = None
) -> tuple[Context, str | None]:
    """A card's context; with the commit that it was read at, where it lies on the Hub."""
    from dataclasses import replace

    from evalkit.lint import context_of
    from evalkit.lint.hub_card import hub_card, is_hub_id
    from evalkit.lint.linting import read_config

    if Path(name).exists() or not is_hub_id(name):
        return context_of(Path(name), bases, config), None
    context, revision = hub_card(name, bases)
    return replace(context, config=read_config(config)) if config else context, revision


def _shown(found: Sequence[_Linted], rules: dict[str, Rule]) -> Iterator[str]:
    number = 0
    for one in found:
        if one.problem:
            yield f"error: {one.problem}"
            continue
        for change in one.changes:
            yield f"fixed     {one.file}:{change.line}  {change.rule} {rules[change.rule].name}"
            yield from (f"          - {line}" for line in change.before)
            yield from (f"          + {line}" for line in change.after)
        for finding in one.findings:
            number += 1
            where = f"{one.file}:{finding.line}" if finding.line else one.file
            named = f"{finding.rule} {rules[finding.rule].name}"
            yield f"{number:>3}  {finding.severity:<8} {where}  {named}"
            yield f"     {finding.message}"
            if finding.evidence:
                yield f"     evidence: {finding.evidence}"
            if finding.fix:
                yield f"     fix: {finding.fix}"
        at = f" at {one.revision}" if one.revision else ""
        errors, warnings = (_number(one.count(word), word) for word in ("error", "warning"))
        yield f"{one.file}{at}: {errors}, {warnings}"


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _as_json(one: _Linted) -> dict[str, Any]:
    return {
        "card": one.card,
        "file": one.file,
        "revision": one.revision,
        "problem": one.problem,
        "errors": one.count("error"),
        "warnings": one.count("warning"),
        "findings": [asdict(finding) for finding in one.findings],
        "fixed": [asdict(change) for change in one.changes],
    }


def _described(rule: Rule) -> dict[str, Any]:
    return {
        "code": rule.code,
        "name": rule.name,
        "severity": rule.severity,
        "summary": rule.summary,
        "why": rule.why,
        "fix": rule.mend is not None,
    }


def _page(rule: Rule) -> Iterator[str]:
    yield f"{rule.code} {rule.name} ({rule.severity})"
    for text in (rule.summary, f"Why: {rule.why}"):
        yield click.wrap_text(text, 96, "  ", "  ")
    yield f"  --fix: {'mends it' if rule.mend else 'leaves it to a person'}"
