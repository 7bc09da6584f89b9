"""Boilerplate about risks that speaks of another family of models than the card's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.facts import FamilyName, families_in
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_BEFORE = re.compile(
    r"(?:applications?\s+of|deploy(?:ing|ment\s+of)|users?\s+of|use\s+of|as\s+with\s+all\s+LLMs,)"
    r"\s+(?:the\s+|any\s+)?[*_`]*$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"^[\w.-]*(?:\s\d[\w.]*)?[*_`]*(?:\s+(?:fine-?tuned\s+)?(?:variants?|varients?)\b"
    r"|\s+and\s+(?:any|its)\s+(?:fine-?tuned|derivatives|variants)"
    r"|(?:[’']s)?\s+potential\s+outputs|\s+is\s+a\s+new\s+technology)",
    re.IGNORECASE,
)


def check(context: Context) -> Iterator[Finding]:
    """The first such name of each line."""
    own = context.subject.families
    if not own:
        return
    seen: set[int] = set()
    for sentence in context.card.sentences:
        for name in families_in(sentence.text):
            if name.family in own or sentence.line in seen or not _is_set(sentence.text, name):
                continue
            seen.add(sentence.line)
            written = _written(sentence.text, name)
            yield Finding(
                sentence.line,
                f"the text warns of {written}, but the model is of the family"
                f" {' / '.join(sorted(own))}",
                evidence=sentence.text[max(0, name.start - 40) : name.end + 40].strip(),
                fix="speak of this model, or take the borrowed text out",
            )


def _is_set(text: str, name: FamilyName) -> bool:
    """Whether the name stands in one of the set phrases, in which a family warns of itself."""
    return bool(_AFTER.match(text[name.end :]) or _BEFORE.search(text[: name.start]))


def _written(text: str, name: FamilyName) -> str:
    version = re.match(r"[- ]?\d+(?:\.\d+)?", text[name.end :])
    return text[name.start : name.end] + (version[0] if version else "")


RULE = Rule(
    code="EK405",
    name="foreign-family",
    summary="Text about risks or limitations speaks of another family of models.",
    why="Limitations that were copied with another model's name have not been thought about.",
    check=check,
)
