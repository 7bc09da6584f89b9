"""The other models of a family as a card names them: its base, its line, and all the rest."""

from __future__ import annotations

from evalkit.cards import sources, values
from evalkit.cards.lineage import parent_of, round_of
from evalkit.cards.links import base_id, hub_page, member_link
from evalkit.cards.metadata import new_version
from evalkit.family import Family, Member
from evalkit.markdown import Markdown, escape, link


def base(family: Family) -> Markdown:
    """The model everything started from; a folder on somebody's machine is not named."""
    first = family.members[0]
    page = base_id(family)
    if page and first.imported:
        return link(page, hub_page(page))
    if page:
        revision = values.shown(first.checkpoint.revision)
        return Markdown(f"{link(page, hub_page(page))} (revision {revision})")
    return member_link(family, first)


def step(family: Family, one: Member, own: Member) -> Markdown:
    """One model of the line that leads to `own`, which itself is bold."""
    return Markdown(f"**{escape(one.title)}**") if one is own else member_link(family, one)


def sibling(family: Family, one: Member) -> Markdown:
    """Another model of the family: its link, what it is, and how large."""
    told = [what(family, one)]
    if one.model.size_bytes is not None:
        told.append(values.size(one.model.size_bytes))
    shown = ", ".join(part for part in told if part)
    return Markdown(f"{member_link(family, one)}: {shown}" if shown else member_link(family, one))


def newer(family: Family, member: Member) -> Markdown:
    """The model that supersedes this one; nothing where none does."""
    if member.superseded_by is None:
        return Markdown("")
    new_version(family, member)  # says so where the family does not hold it
    return member_link(family, family.member(member.superseded_by))


def what(family: Family, one: Member) -> Markdown:
    """What a member is, in a few words; empty where nobody says."""
    if one.kind == "variant" and one.variant:
        parent = parent_of(family, one)
        return Markdown(
            f"{escape(one.variant.label)} variant of {escape(parent.title) if parent else ''}"
        )
    if one.kind == "iteration" and one.training:
        return _iteration(one.training.method, round_of(family, one))
    if one.stated and one.stated.quantized:
        return escape(f"quantized to {one.stated.quantized}")
    if one.stated and one.stated.steps:
        last = one.stated.steps[-1]
        return _iteration(last.method, last.iteration)
    is_base = one.kind == "base" or one.checkpoint.name == family.base_source
    return Markdown("the base" if is_base else "")


def _iteration(method: str, number: int | None) -> Markdown:
    label = sources.method(method)["label"]
    return escape(f"iteration {number} of {label}" if number else label)
