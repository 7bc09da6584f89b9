"""A model that the text names as the base, and the metadata does not."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit import baselines
from evalkit.lint.context import Context
from evalkit.lint.facts import families_in, with_kin
from evalkit.lint.finding import Finding
from evalkit.lint.mentions import Mention
from evalkit.lint.names import plain
from evalkit.lint.rule import Rule
from evalkit.lint.subject import Subject


def check(context: Context) -> Iterator[Finding]:
    """Every origin in the text that is neither a base in the metadata nor one of its ancestors."""
    subject = context.subject
    if not subject.base_ids:
        return
    listed = ", ".join(base.text for base in subject.base_ids)
    for mention in subject.origins:
        if not _says_base(subject, mention) or _is_listed(subject, mention):
            continue
        foreign = _is_of_another_family(subject, mention)
        yield Finding(
            mention.line,
            f"the text says that the model was made from {mention.known_as}, the metadata from"
            f" {listed}",
            evidence=f"{mention.evidence}; base_model in line {subject.base_ids[0].line}",
            fix="name the same base in both",
            severity="error" if foreign else "warning",
        )


def _says_base(subject: Subject, mention: Mention) -> bool:
    """Whether a phrase is about what the metadata tells: a quantized card quotes its parent's."""
    if subject.relation == "quantized":
        return mention.how == "quantized"
    return mention.how in ("finetuned", "is")


def _is_listed(subject: Subject, mention: Mention) -> bool:
    names = {plain(mention.name), plain(mention.id)} - {""}
    bases = {plain(base.text) for base in subject.base_ids}
    # A name may be short for a base (`phi-2` for `phi-2-sft`), or the base for a name.
    if any(name in base or base in name for name in names for base in bases):
        return True
    if any(subject.is_called(name) for name in (mention.name, mention.id) if name):
        return True
    return bool(names & _ancestors(subject))


def _ancestors(subject: Subject) -> set[str]:
    found: set[str] = set()
    for base in subject.base_ids:
        model = baselines.known(base.text)
        while model is not None and plain(model.id) not in found:
            found.add(plain(model.id))
            model = baselines.known(model.base) if model.base else None
    return found


def _is_of_another_family(subject: Subject, mention: Mention) -> bool:
    named = with_kin(one.family for one in families_in(mention.known_as))
    of_bases = with_kin(one.family for base in subject.base_ids for one in families_in(base.text))
    return bool(named) and bool(of_bases) and not named & of_bases


RULE = Rule(
    code="EK404",
    name="base-in-text",
    summary="The text names another model as the base than base_model.",
    why="The model tree, the licence and the size all follow from the base.",
    check=check,
    severity="warning",
)
