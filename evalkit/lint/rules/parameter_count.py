"""A number of parameters in the text, or in the name, that the model does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.names import SLACK, Size, billions, is_mixture, size_of, sizes_in
from evalkit.lint.rule import Rule
from evalkit.lint.subject import KnownSize, Subject

_NUMBER = r"(?P<number>\d+(?:\.\d+)?)"
_CLAIMS = (
    re.compile(rf"(?<![\w.]){_NUMBER}[\s-]?(?P<unit>b|m|billion|million)[\s-]*param", re.I),
    re.compile(rf"\bmodel\s?size[*_]*\s?:[*_\s]*~?{_NUMBER}\s?(?P<unit>b|m)(?![a-z])", re.I),
    # Pages of model hubs write it without a blank to what follows: Model Size:9BQuant:FP8.
    re.compile(rf"Model Size:{_NUMBER}(?P<unit>B|M)(?=[A-Z])"),
    re.compile(
        r"^[\s>*•-]*(?:number\s+of\s+)?(?:total\s+)?(?:params|parameters)[*_]*\s?:[*_\s]*~?"
        rf"{_NUMBER}\s?(?P<unit>b|m|billion|million)(?![a-z])",
        re.I,
    ),
)
# Other counts than that of all parameters, and words before a number that make it another model's.
_OTHER_COUNT = re.compile(
    r"activ|effectiv|trainable|embedding|lora|adapter|vision|encoder|draft|reward|judge|teacher",
    re.IGNORECASE,
)
_OTHER_MODEL = re.compile(
    r"\bthan\b|unlike|compar|versus|\bvs\b|outperform|surpass|rival|\bbeat|exceed|against|\bfrom\b"
    r"|\bthe\s*$|(?<!-)\blike\b|\bother\b|\blarger\b",
    re.IGNORECASE,
)
# A class of models: within the 13B-33B parameter range.
_RANGE_BEFORE = re.compile(r"\d\s?(?:[bm]|[bm]illion)?\s*(?:-|–|~|to|and|or)\s*$", re.IGNORECASE)
_CLASS_AFTER = re.compile(
    r"\w*\s+(?:range|class|scale|category|regime|level|models)\b", re.IGNORECASE
)
_BEFORE, _AROUND = 300, 40  # characters of a sentence that tell whose number it is
_NAME_SLACK = 0.3  # names round, and some leave the embeddings out


class Claim(NamedTuple):
    """A number of parameters that the card claims for its model."""

    line: int
    size: Size
    evidence: str


def check(context: Context) -> Iterator[Finding]:
    """Names first, then every claim that agrees with nothing that is known."""
    subject = context.subject
    yield from _names(subject)
    known = _comparable(subject)
    if not known or any(is_mixture(one.text) for one in subject.names):
        return
    for claim in claims(subject):
        if not any(_agrees(claim.size, one) for one in known):
            yield Finding(
                claim.line,
                f"the text gives the model {claim.size.text} parameters, but {known[0].why}",
                evidence=claim.evidence,
                fix=f"write {billions(known[0].parameters)}",
            )


def claims(subject: Subject) -> Iterator[Claim]:
    """Sizes that sentences give the card's own model."""
    for sentence in subject.card.sentences:
        for form in _CLAIMS:
            for mark in form.finditer(sentence.text):
                if _is_of_model(subject, sentence.text, mark):
                    size = size_of(mark["number"], mark["unit"])
                    yield Claim(sentence.line, size, _around(sentence.text, mark))


def _is_of_model(subject: Subject, text: str, mark: re.Match[str]) -> bool:
    """Whether a sentence's number is of all parameters of the card's own model."""
    before = text[max(0, mark.start() - _BEFORE) : mark.start()]
    after = re.split("[.,]", text[mark.end() :][:_AROUND])[0]
    is_other = any(_OTHER_COUNT.search(part) for part in (before, after))
    is_other = is_other or bool(_OTHER_MODEL.search(before) or _RANGE_BEFORE.search(before))
    is_other = is_other or bool(_CLASS_AFTER.match(after))
    return not is_other and not subject.is_foreign(before)


def _names(subject: Subject) -> Iterator[Finding]:
    counted = [one for one in subject.sizes if one.without_embeddings is not None]
    for name in subject.names if counted else ():
        sizes = sizes_in(name.text)
        slack = {"slack": _NAME_SLACK}
        if sizes and not any(_agrees(size, one, **slack) for size in sizes for one in counted):
            yield Finding(
                name.line,
                f"the name says {sizes[0].text}, but {counted[0].why}",
                evidence=name.text,
                fix="give the model the name of its size, or the card its own config.json",
            )


def _comparable(subject: Subject) -> list[KnownSize]:
    """The sizes that a claim may agree with; names do not stand against what was counted."""
    own = [one for one in subject.sizes if one.without_embeddings is not None]
    if own:
        near = [
            one
            for one in subject.sizes
            if abs(one.parameters / own[0].parameters - 1) <= _NAME_SLACK
        ]
        return near
    if subject.is_of_other_size:
        names = {size.parameters for name in subject.names for size in sizes_in(name.text)}
        return [one for one in subject.sizes if one.parameters in names]
    return list(subject.sizes)


def _agrees(size: Size, known: KnownSize, slack: float = SLACK) -> bool:
    counts = (known.parameters, known.without_embeddings)
    return any(count is not None and size.agrees(count, slack) for count in counts)


def _around(text: str, mark: re.Match[str]) -> str:
    before = text[max(0, mark.start() - _AROUND) : mark.start()].split(" ")[-4:]
    after = text[mark.end() : mark.end() + _AROUND].split(" ")[:4]
    return " ".join([*" ".join(before).split(), mark[0] + " ".join(after)]).strip()


RULE = Rule(
    code="EK401",
    name="parameter-count",
    summary="A number of parameters in the text or the name is not the model's.",
    why="Readers choose hardware by it, and compare models of one size with it.",
    check=check,
)
