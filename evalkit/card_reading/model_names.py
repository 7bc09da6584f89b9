"""Whose a score is: models as cards name them, and which of them is the card's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from evalkit.card_reading.document import Document
from evalkit.card_reading.links import links_of
from evalkit.card_reading.tables import plain
from evalkit.card_reading.task_names import letters

_OURS = re.compile(
    r"\(?\b(?:this (?:model|checkpoint|work|card|version)|ours|our model)\b\)?", re.IGNORECASE
)
_TITLE = re.compile(r"^model card (?:for|of|:)?\s*", re.IGNORECASE)
_MOST_WORDS = 5  # of a title that is a name
_HUB_ID = re.compile(r"(?<![\w./-])[\w.-]+/[\w.-]*\d[\w.-]*(?![\w/])")
# First parts of the Hub's addresses that are no owner of a model, and hosts that hold no models.
_NO_OWNER = frozenset("datasets spaces papers docs blog collections posts models api".split())
_NO_HUB = re.compile(
    r"(?:^|\.)(?:github\.com|github\.io|arxiv\.org|twitter\.com|x\.com|kaggle\.com)$"
)
# Source: how quantized repositories are called on the Hub, November 2026.
_QUANTIZED = re.compile(
    r"(?<![a-z0-9])(?:quantized|quantised|gguf|gptq|awq|exl2|exl3|hqq|aqlm|bnb|nf4|mxfp4|nvfp4"
    r"|fp8|fp4|int[48]|[348][-_ ]?bits?|w[48]a(?:16|8|4)|q[2-8]_[0-9k][a-z0-9_]*)(?![a-z0-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Subject:
    """Whose a score is. name: as written, empty where the place names nobody.

    repo: the Hub id that the name links to; is_own: whether it is the card's own model.
    """

    name: str
    repo: str | None = None
    is_own: bool = False


@dataclass(frozen=True)
class OwnNames:
    """The names by which a card's own model goes, in letters and digits alone."""

    names: frozenset[str]

    def subject(self, cell: str) -> Subject:
        """Whose the scores beside a cell are."""
        name, repo = plain(cell), linked_repo(cell)
        is_ours = bool(_OURS.search(name))
        bare = _OURS.sub("", name).strip(" ()-–:") if is_ours else name
        known = {model_key(one) for one in (bare, repo or "")} & self.names
        return Subject(bare or name, repo, is_ours or bool(known))


def own_names(card: Document) -> OwnNames:
    """What a card calls its model: title, `model_name` and the entries of its model-index."""
    return OwnNames(frozenset(key for one in _named(card) if (key := model_key(one))))


def own_name(card: Document) -> str:
    """The name of a card's model as its model-index or title has it; empty where there is none."""
    return next((name for name in _named(card) if name), "")


def model_key(name: str) -> str:
    """What of a model's name does not depend on how it is written; the owner is left out."""
    return letters(name if " " in name else name.rstrip("/").rpartition("/")[2])


def is_quantized_name(name: str) -> bool:
    """Whether a name or a title says that its model is quantized."""
    return bool(_QUANTIZED.search(name))


def linked_repo(cell: str) -> str | None:
    """The Hub id that a cell links to, at the Hub or at a mirror of it, or that it spells out."""
    for link in links_of(0, cell):
        address = urlsplit(link.target)
        parts = [part for part in address.path.split("/") if part]
        is_hub = address.scheme in ("http", "https") and not _NO_HUB.search(address.netloc)
        if is_hub and len(parts) == 2 and parts[0] not in _NO_OWNER:
            return "/".join(parts)
    spelt = _HUB_ID.search(plain(cell))
    return spelt[0] if spelt else None


def _named(card: Document) -> Iterator[str]:
    index = card.metadata.get("model-index")
    for entry in index if isinstance(index, list) else ():
        if isinstance(entry, dict):
            yield str(entry.get("name") or "")
    yield str(card.metadata.get("model_name") or "")
    title = _TITLE.sub("", plain(card.title))
    if len(title.split()) <= _MOST_WORDS and not title.endswith((".", ":", "?")):
        yield title
