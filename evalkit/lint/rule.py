"""A rule of lint: what it finds, why that matters, and the function that finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding, Severity

Check = Callable[[Context], Iterable[Finding]]
Mend = Callable[[Context], str]


@dataclass(frozen=True)
class Rule:
    """One file of `rules/` defines one, as `RULE`.

    code: `EK` and three digits: 1xx metadata, 2xx licences, 3xx numbers, 4xx what the card claims
        of its model, 5xx its text and links, 6xx what must not be published.
    name: as in `--ignore`. summary: one sentence. why: what goes wrong for a reader otherwise.
    check: gives findings; `rule` and, unless they differ from the rule's, `severity` are filled in.
    mend: the card's text with what is safe to mend mended; None where nothing is safe.
    """

    code: str
    name: str
    summary: str
    why: str
    check: Check
    severity: Severity = "error"
    mend: Mend | None = None
