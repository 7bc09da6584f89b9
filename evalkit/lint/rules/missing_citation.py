"""A published method that the card names without its paper."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.facts import papers
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_LINK = re.compile(r"\[[^\[\]]*\]\([^()]*\)")

_OF_ANOTHER = re.compile(rf"\W*{_LINK.pattern}:\s")  # an entry of a list, on what is linked


def check(context: Context) -> Iterator[Finding]:
    """Each method once, where a sentence or a heading first names it."""
    card = context.card
    everything = _words(card.text)
    headings = {section.line: section.title for section in card.sections[1:]}
    texts = list(headings.items())
    texts += [
        (sentence.line, sentence.text)
        for sentence in card.sentences
        if not _OF_ANOTHER.match(sentence.text)
    ]
    plain = sorted((line, _claims(text)) for line, text in texts)
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


def _claims(text: str) -> str:
    """A text without links, addresses and names of models, which hold methods' names, too."""
    words = _LINK.sub(" ", text).split()
    return " ".join(word for word in words if not _is_name(word))


def _is_name(word: str) -> bool:
    return "/" in word or ("-" in word and any(letter.isdigit() for letter in word))


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
