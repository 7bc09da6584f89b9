"""Data sets that a card names: in its metadata, and in sentences about training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from evalkit.card_reading import Document
from evalkit.lint.hub_places import hub_place

_TRAINING = re.compile(
    r"\b(?:train(?:ed|ing)?|fine-?\s?tun(?:ed|ing)|(?:instruction|preference)-tuned|align(?:ed|ment))\b",
    re.I,
)
_PROMPTS = re.compile(r"\bprompts?\b", re.IGNORECASE)
# What a data set may be named for beside training on it.
_OTHERWISE = re.compile(
    r"evaluat|benchmark|leaderboard|results?\b|calibrat|contaminat|version\s+of|similar\s+to"
    r"|instead\s+of|unlike|\bnot\b|compared|decontamin|\bby\s*$",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"\[(?P<text>[^\]]{0,1000})\]\((?P<url>[^)\s]{1,4000})\)|(?P<bare>https?://[^\s)>\]`]+)"
)
_WRITTEN = re.compile(r"[`*\"]*(?<![\w./-])(?P<id>[\w.-]+/[\w.-]*\w)[`*\"]*\s+data\s?sets?\b", re.I)


@dataclass(frozen=True)
class NamedDataset:
    """A data set by its Hub id. for_prompts: the sentence speaks of its prompts."""

    line: int
    id: str
    evidence: str
    for_prompts: bool = False


def listed(card: Document) -> tuple[NamedDataset, ...]:
    """`datasets` of the metadata."""
    value = card.metadata.get("datasets")
    names = value if isinstance(value, list) else [value]
    return tuple(
        NamedDataset(card.key_line("datasets", number), name, f"datasets: {name}")
        for number, name in enumerate(names)
        if isinstance(name, str) and name
    )


def trained_on(card: Document) -> tuple[NamedDataset, ...]:
    """Data sets that sentences about training, or about prompts, name by a link or an id."""
    return tuple(
        NamedDataset(
            sentence.line, name, " ".join(sentence.text.split())[:120],
            for_prompts=bool(_PROMPTS.search(sentence.text)),
        )
        for sentence in card.sentences
        if _TRAINING.search(sentence.text) or _PROMPTS.search(sentence.text)
        for name in _named(sentence.text)
    )  # fmt: skip


def _named(text: str) -> Iterator[str]:
    for mark in _LINK.finditer(text):
        place = hub_place(mark["url"] or mark["bare"])
        if (
            place is not None
            and place.kind == "dataset"
            and not _OTHERWISE.search(_clause(text, mark))
        ):
            yield place.id
    plain = _LINK.sub(" ", text)
    for mark in _WRITTEN.finditer(plain):
        if not _OTHERWISE.search(_clause(plain, mark)):
            yield mark["id"]


def _clause(text: str, mark: re.Match[str]) -> str:
    """The words before a name, back to where its clause begins."""
    return re.split(r"[;:]|,\s(?:and|but|while|whereas)\b", text[: mark.start()])[-1]
