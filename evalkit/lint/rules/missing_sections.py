"""What a reader looks for on a model's card and does not find."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.card_reading import Document
from evalkit.lint.context import Context
from evalkit.lint.evaluation_notes import listed
from evalkit.lint.facts import sections
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_LABEL = re.compile(r"^[\s>*•-]*\*\*([^*]{3,60})\*\*|^[\s>*•-]*([A-Z][\w &/()-]{2,50}):")
_MOST_LABEL = 60  # characters of a bare line that is a heading on a saved page
_SHOWN = 6  # headings, as evidence
_LATIN = re.compile(r"[A-Za-z]")
_LETTER = re.compile(r"[^\W\d_]")


def check(context: Context) -> Iterator[Finding]:
    """One finding, with all that is missing."""
    card = context.card
    if not any(line.text.strip() for line in card.prose):
        return
    said = "\n".join(_labels(card))
    missing = [name for name, words in sections().items() if not words.search(said)]
    if len(missing) == len(sections()) and _is_of_another_script(said):
        return
    if "use" in missing and any(line.kind == "code" for line in card.lines):
        missing.remove("use")
    if _is_dataset(card) and "evaluation" in missing:
        missing.remove("evaluation")
    if missing:
        yield Finding(
            card.sections[0].line if card.sections else card.prose[0].number,
            f"there is no section on {listed(missing)}",
            evidence=_headings(card),
            fix="add the sections, also where there is little to say",
        )


def _headings(card: Document) -> str:
    """The first few, in which the reader can see what was looked through."""
    titles = [section.title for section in card.sections]
    if not titles:
        return "the card has no headings"
    return "headings: " + ", ".join(titles[:_SHOWN]) + (", ..." if titles[_SHOWN:] else "")


def _is_of_another_script(labels: str) -> bool:
    """Whether labels are mostly of a script of which no words are known here."""
    return 2 * len(_LATIN.findall(labels)) < len(_LETTER.findall(labels))


def _is_dataset(card: Document) -> bool:
    """Whether it is the card of a data set, by the keys that only these have."""
    return bool({"task_categories", "size_categories", "dataset_info"} & set(card.metadata))


def _labels(card: Document) -> Iterator[str]:
    """Headings, words in bold or before a colon that begin a line, and heads of tables."""
    for section in card.sections:
        yield section.title
    for line in card.prose:
        mark = _LABEL.match(line.text)
        if mark:
            yield mark[1] or mark[2]
        elif not card.sections and len(line.text) < _MOST_LABEL:
            yield line.text


RULE = Rule(
    code="EK503",
    name="missing-sections",
    summary="The card does not say how to use the model, how it was made, its limits, or how good"
    " it is.",
    why="These four are what a reader decides by.",
    check=check,
    severity="warning",
)
