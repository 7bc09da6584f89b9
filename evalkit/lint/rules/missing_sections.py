"""What a reader looks for on a model's card and does not find."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.card_reading import Document
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_LABEL = re.compile(r"^[\s>*•-]*\*\*([^*]{3,60})\*\*|^[\s>*•-]*([A-Z][\w &/()-]{2,50}):")
_MOST_LABEL = 60  # characters of a bare line that is a heading on a saved page
_SECTIONS = {
    "use": re.compile(
        r"\bus(?:es?|age|ing)\b|quick ?start|how to|get started|inference|deploy|example|"
        r"prompt (?:template|format)|chat template|running|try it|download",
        re.IGNORECASE,
    ),
    "training": re.compile(
        r"\btrain|fine-?tun|procedure|hyper-?parameter|merge|creation|quanti[sz]ation|method|"
        r"recipe|optimi[sz]ation|dataset|made\b|models? used|conversion|configuration",
        re.IGNORECASE,
    ),
    "limitations": re.compile(
        r"limit|bias|risk|out-of-scope|intended|caveat|disclaimer|safety|ethical|known issues|"
        r"responsib|warning",
        re.IGNORECASE,
    ),
    "evaluation": re.compile(
        r"evaluat|benchmark|results?\b|performance|leaderboard|accuracy|scores?\b|metric|recovery|"
        r"perplexity",
        re.IGNORECASE,
    ),
}


def check(context: Context) -> Iterator[Finding]:
    """One finding, with all that is missing."""
    card = context.card
    if not any(line.text.strip() for line in card.prose):
        return
    said = "\n".join(_labels(card))
    missing = [name for name, words in _SECTIONS.items() if not words.search(said)]
    if "use" in missing and any(line.kind == "code" for line in card.lines):
        missing.remove("use")
    if _is_dataset(card) and "evaluation" in missing:
        missing.remove("evaluation")
    if missing:
        listed = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[1:] else missing)
        yield Finding(
            card.sections[0].line if card.sections else card.prose[0].number,
            f"there is no section on {listed}",
            evidence=f"{len(card.sections)} headings",
            fix="add the sections, also where there is little to say",
        )


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
