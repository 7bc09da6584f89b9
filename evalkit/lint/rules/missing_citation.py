"""A published method that the card names without its paper."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.facts import papers
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

# Addresses, and names of models, hold methods' names, too: those are no claims.
_NAMES = re.compile(r"\S*/\S*|[\w.]+-(?:[\w.]+-)*\w*\d[\w.-]*|\w*\d[\w.]*-[\w.-]+")


def check(context: Context) -> Iterator[Finding]:
    """Each method once, where a sentence or a heading first names it."""
    card = context.card
    everything = _words(card.text)
    headings = {section.line: section.title for section in card.sections[1:]}
    texts = [(line, title) for line, title in headings.items()]
    texts += [(sentence.line, sentence.text) for sentence in card.sentences]
    plain = [(line, _NAMES.sub(" ", text)) for line, text in texts]
    plain.sort()
    for paper in papers():
        if paper.arxiv in card.text or (paper.title and _words(paper.title) in everything):
            continue
        named = next(((line, m) for line, text in plain if (m := paper.name.search(text))), None)
        if named:
            yield Finding(
                named[0],
                f"{named[1][0]} is named and its paper is not",
                evidence=named[1][0],
                fix=f"cite '{paper.title}', https://arxiv.org/abs/{paper.arxiv}",
            )


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


RULE = Rule(
    code="EK504",
    name="missing-citation",
    summary="A method is named, and its paper neither linked nor cited.",
    why="Readers cannot look up what was done, and the authors get no credit.",
    check=check,
    severity="warning",
)
