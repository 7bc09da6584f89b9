"""A model whose name says one size, and what it is said to be made from another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalkit import baselines
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.names import Size, is_mixture, sizes_in
from evalkit.lint.rule import Rule

_SLACK = 0.1


def check(context: Context) -> Iterator[Finding]:
    """Every origin, in the text or the metadata, of another size than the card's own name."""
    subject = context.subject
    own = [size for name in subject.names for size in sizes_in(name.text)]
    if not own or subject.is_of_other_size:
        return
    called = next(name.text for name in subject.names if sizes_in(name.text))
    for mention in subject.origins:
        if mention.how != "based" and _differs(own, mention.known_as):
            yield Finding(
                mention.line,
                f"the text makes this a model of {_said(mention.known_as)}, its name of"
                f" {own[0].text}",
                evidence=f"{mention.evidence}; named {called}",
                fix="name the model that this one was really made from",
            )
    for base in subject.base_ids:
        if _differs(own, base.text):
            yield Finding(
                base.line,
                f"the base has {_said(base.text)}, the model by its name {own[0].text}",
                evidence=f"base_model: {base.text}; named {called}",
                fix="name the base that has the model's size, or say how its size was changed",
                severity="error" if subject.relation == "quantized" else "warning",
            )


def _differs(own: Sequence[Size], base: str) -> bool:
    if is_mixture(base):
        return False
    sizes = sizes_in(base)
    known = baselines.known(base)
    if known is not None and known.parameters is not None:
        if any(size.agrees(known.parameters, _SLACK) for size in own):
            return False
        return not sizes or not _any_agree(own, sizes)
    return bool(sizes) and not _any_agree(own, sizes)


def _any_agree(own: Sequence[Size], others: Sequence[Size]) -> bool:
    return any(
        one.agrees(other.parameters, _SLACK) or other.agrees(one.parameters, _SLACK)
        for one in own
        for other in others
    )


def _said(name: str) -> str:
    sizes = sizes_in(name)
    return f"{sizes[0].text} ({name})" if sizes else f"another size ({name})"


RULE = Rule(
    code="EK402",
    name="size-of-base",
    summary="The text or base_model names a model of another size as what this one was made from.",
    why="Text that was copied from a sibling's card tells of a model that the reader does not get.",
    check=check,
)
