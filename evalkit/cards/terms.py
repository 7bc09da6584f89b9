"""Terms of a model's use: its licence, those of its bases, and what they oblige to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from evalkit import licences
from evalkit.cards.links import base_id, hub_page
from evalkit.errors import Problem
from evalkit.family import Family, Member
from evalkit.markdown import Markdown, escape, link


@dataclass(frozen=True)
class LicenceTerms:
    """The licence chain as a card tells it.

    bases: a line for each base whose licence is known. built_with: what must be shown prominently.
    duties: what else whoever passes the model on must keep to, a sentence each.
    """

    licence: Markdown
    bases: list[Markdown]
    built_with: list[Markdown]
    duties: list[Markdown]


def terms(family: Family, member: Member) -> LicenceTerms:
    """What a card says of the licence, from the one value that its front matter has too."""
    card = family.card
    name, where = card.get("license_name") or card["license"], card.get("license_link")
    owed = _obligations(family, member)
    shown = {line for one in _held(family) for line in one.must.built_with}
    duties = [escape(line) for line in owed.lines if line not in shown]
    duties += [_copy(one) for one in owed.copies]
    if owed.files:
        files = ", ".join(f"[{escape(name)}]({name})" for name in owed.files)
        duties.append(Markdown(f"Their notice goes along with it, too: {files}."))
    return LicenceTerms(
        licence=link(name, where) if where else escape(name),
        bases=[_base(one) for one in _chain(family)],
        built_with=[escape(line) for line in owed.lines if line in shown],
        duties=duties,
    )


def notices(family: Family, member: Member) -> dict[str, str]:
    """Name -> text of the files that the licences of its bases ask for beside the card."""
    return _obligations(family, member).files


def faults(licence: str, base: str | None, names: Iterable[str]) -> Iterator[Problem]:
    """Why models of these names may not be published under a licence, given what they derive from.

    licence: the Hub's id; base: a Hub id, of which nothing is said if it is not known here.
    """
    chain = licences.chain(base) if base else ()
    for one in chain:
        conflict = licences.compatible(licence, one.licence) if one.licence else None
        if conflict is not None and conflict.severity == "error":
            message = f"'{licence}' does not go with the licence of {one.model.id}: {conflict.why}"
            yield Problem("card.license", message, f"give {conflict.base} (see {conflict.source})")
    held = [one.licence for one in chain if one.licence]
    for name in names:
        fault = licences.obligations(held, name).name_fault
        if fault:
            yield Problem("name", fault, "give it another name")


def _obligations(family: Family, member: Member) -> licences.Obligations:
    held = [one.licence for one in _chain(family) if one.licence]
    return licences.obligations(held, member.title)


def _held(family: Family) -> list[licences.Terms]:
    ids = [one.licence for one in _chain(family) if one.licence]
    return [found for one in dict.fromkeys(ids) if (found := licences.terms(one))]


def _chain(family: Family) -> tuple[licences.Link, ...]:
    base = base_id(family)
    return licences.chain(base) if base else ()


def _base(one: licences.Link) -> Markdown:
    page = link(one.model.id, hub_page(one.model.id))
    if not one.licences:
        return Markdown(f"{page}: its licence is not known here")
    held = one.licences[-1]
    known = licences.terms(held.id)
    said = link(known.name if known else held.id, held.source)
    return Markdown(f"{page}: {said}, since {escape(held.since)}")


def _copy(one: licences.Terms) -> Markdown:
    return Markdown(f"A copy of {link(one.name, one.source)} goes along with it.")
