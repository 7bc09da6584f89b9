"""Which models a card's sentences name as what it was made from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from evalkit.card_reading import Document
from evalkit.lint.facts import families_in
from evalkit.lint.hub_places import hub_model
from evalkit.lint.names import sizes_in

How = Literal["finetuned", "quantized", "based", "is"]

# A link, an id, or a word with hyphens that a family or a size shows to be a model's name.
_MODEL = (
    r"[\s*_:`\"(]*(?:the\s+|a\s+|an\s+)?(?:\w+[’']s\s+)?[*_`\"]*"
    r"(?:\[(?P<text>[^\]]{0,1000})\]\((?P<url>[^)\s]{0,4000})\)"
    r"|(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\w)"
    r"|(?P<bare>[A-Za-z][\w.]*(?:-[\w.]*\w)+))"
)
_OF = (
    r"(?:version|variant|conversion|quanti[sz]ation|checkpoint|quant)s?"
    r"\s+of(?:\s+the)?(?:\s+model)?"
)
_PHRASES: dict[How, str] = {
    "quantized": r"\b(?:quanti[sz]ed|quanti[sz]ation|GGUF|GPTQ|AWQ|EXL2|\d-?bit|Q\d_\w+|FP8"
    r"|INT[48])"
    rf"[^.\[]{{0,30}}?\b{_OF}",
    "finetuned": rf"\b(?:fine-?\s?tuned|instruction-tuned|trained|aligned)\s+{_OF}"
    r"|\bfine-?tun(?:ed|ing|e)\s+(?:with\s+\w+\s+)?(?:from|over|on top of)(?:\s+model)?",
    "based": r"\b(?:based\s+(?:up)?on|derived\s+from|initiali[sz]ed\s+(?:from|with)"
    r"|built\s+(?:up)?on)",
}
_FORMS: dict[How, re.Pattern[str]] = {
    how: re.compile(f"(?:{phrase}){_MODEL}", re.IGNORECASE) for how, phrase in _PHRASES.items()
}
_FORMS["is"] = re.compile(
    rf"^[>\s*_-]*This\s+(?:model\s+)?is{_MODEL}[*_`]*\s+(?:that\s+(?:is|was|has\s+been)\s+)?"
    r"(?:fine-?\s?tuned|trained|quanti[sz]ed|converted)\b",
    re.IGNORECASE,
)
# What of another model may be taken over without deriving from it.
_NO_BASE = re.compile(r"\W*(?:architecture|tokenizer|code|recipe|paper|template|dataset)", re.I)


@dataclass(frozen=True)
class Mention:
    """A model that a sentence names as the origin of the card's own.

    name: as it is shown. id: on the Hub, where the text or its link gives one, else empty.
    """

    line: int
    how: How
    name: str
    id: str
    evidence: str

    @property
    def known_as(self) -> str:
        """The id, or the name where there is none."""
        return self.id or self.name


def origins(card: Document) -> tuple[Mention, ...]:
    """What the sentences of a card say that its model was made from."""
    return tuple(
        mention
        for sentence in card.sentences
        for how, form in _FORMS.items()
        for mark in form.finditer(sentence.text)
        for mention in _mention(sentence.line, how, sentence.text, mark)
    )


def _mention(line: int, how: How, text: str, mark: re.Match[str]) -> Iterator[Mention]:
    if how == "based" and _NO_BASE.match(text[mark.end() :]):
        return
    shown = (mark["text"] or mark["id"] or mark["bare"] or "").strip("*_` ")
    found = hub_model(mark["url"] or "") or mark["id"] or (shown if "/" in shown else "")
    if mark["url"] and not hub_model(mark["url"]):
        return  # a link to a paper, a data set or a tool
    if not found and not families_in(shown) and not sizes_in(shown):
        return
    evidence = " ".join(mark[0].split()).lstrip("*_ ")
    yield Mention(line, how, shown, found, evidence)
