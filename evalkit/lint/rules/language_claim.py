"""Languages that the text names and the metadata does not."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.facts import language_codes
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_STATED = re.compile(r"^[\s>*•_-]*languages?(?:\(s\))?\s*(?:\(NLP\))?[*_]*\s*:[*_\s]*(.+)$", re.I)
_WORD = re.compile(r"[A-Z][a-z]+")
_NOT = re.compile(r"\b(?:not|except|other than|no)\b", re.IGNORECASE)


def check(context: Context) -> Iterator[Finding]:
    """Each line of the form `Language(s): ...` that names languages beyond `language:`."""
    value = context.card.metadata.get("language")
    listed = [one for one in (value if isinstance(value, list) else [value]) if one]
    codes = {_code(str(one)) for one in listed}
    if not all(len(code) == 2 for code in codes) or not codes:
        return  # three-letter codes, or `multilingual`
    for line in context.card.prose:
        mark = _STATED.match(line.text)
        if mark is None or _NOT.search(mark[1]):
            continue
        named = {word: language_codes().get(word.lower()) for word in _WORD.findall(mark[1])}
        found = {word: code for word, code in named.items() if code}
        beyond = [word for word, code in found.items() if code not in codes]
        if beyond:
            alone = len(beyond) == len(found)
            at = context.card.key_line("language")
            yield Finding(
                line.number,
                f"the text names {', '.join(beyond)}, which `language` does not list",
                evidence=f"{line.text.strip()[:80]}; language: {', '.join(sorted(codes))}"
                f" in line {at}",
                fix="list the codes of all its languages in `language`, or correct the text",
                severity="error" if alone else "warning",
            )


def _code(stated: str) -> str:
    """The two letters of `en`, `en-US` or `zh_Hant`; Norwegian's written forms are Norwegian."""
    code = re.split("[-_]", stated.lower())[0]
    return "no" if code in ("nb", "nn") else code


RULE = Rule(
    code="EK406",
    name="language-claim",
    summary="The text names languages that the metadata does not list.",
    why="The Hub's search by language reads the metadata only.",
    check=check,
    severity="warning",
)
