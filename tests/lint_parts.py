"""Cards for the tests of lint: made-up ones by rule, of `tests/cards/rules`; and their errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from evalkit.card_reading import read
from evalkit.lint import Context, Finding, Rule, context_of, lint

RULES = Path(__file__).parent / "cards" / "rules"
CLEAN = Path(__file__).parent / "cards" / "clean"
# Of the form of real ones; no file of the project may hold them as they are.
FAKES = {
    "FAKE_HF_TOKEN": "hf_" + "aB3" * 12,
    "FAKE_KEY": "-----BEGIN " + "PRIVATE KEY-----",
}


@dataclass(frozen=True)
class Case:
    """A card that a rule finds fault with, or not.

    line, says, severity: of what must be found: its line, a part of its message, evidence or fix.
    files: of its folder, by path; a card by itself where it is None.
    base: the text of the base's card, where that is given, too.
    """

    code: str
    card: str
    line: int = 0
    says: str = ""
    severity: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] | None = None
    base: str | None = None

    def context(self, folder: Path) -> Context:
        """The card, in `folder` where it has files."""
        text = self.card
        for fake, real in FAKES.items():
            text = text.replace(fake, real)
        bases = () if self.base is None else (read(self.base),)
        if self.files is None:
            return Context(read(text), config=self.config, base_cards=bases)
        for path, content in {**self.files, "README.md": text}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content, "utf-8")
        if self.config:
            (folder / "config.json").write_text(json.dumps(self.config))
        return context_of(folder, bases)


def cases(kind: str) -> Iterator[Case]:
    """All cases that `fails` or `passes`."""
    for file in sorted(RULES.glob("EK*.yaml")):
        for row in yaml.safe_load(file.read_text("utf-8"))[kind]:
            yield Case(file.stem, **row)


def found_by(rule: Rule, context: Context) -> list[Finding]:
    """What one rule finds."""
    return lint(context, [rule])


def errors_of(path: Path) -> list[str]:
    """The errors of a card that all rules find, for people."""
    return [
        f"{path}:{one.line} {one.rule} {one.message} ({one.evidence})"
        for one in lint(context_of(path))
        if one.severity == "error"
    ]
