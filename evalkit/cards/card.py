"""One checkpoint's card: front matter and text, put together from its family's records."""

from __future__ import annotations

from typing import Any

from evalkit import card_schema, frontmatter
from evalkit.cards import evaluation, making, recovery, relatives, sources, use, values, versus
from evalkit.cards.eval_results import eval_results
from evalkit.cards.imported import unseen
from evalkit.cards.lineage import citations, datasets, line_of, methods, parent_of, round_of
from evalkit.cards.links import (
    CARD_FILE,
    addresses,
    base_id,
    endpoint,
    hub_page,
    member_link,
)
from evalkit.cards.metadata import front_matter
from evalkit.cards.picture import (
    build_figures,
    can_draw,
    result_pictures,
    training_picture,
)
from evalkit.cards.recording import Book, cite_standings, records_of
from evalkit.cards.regions import rebuilt, sealed
from evalkit.cards.rendering import render
from evalkit.cards.result_tables import ResultTable, result_tables
from evalkit.cards.terms import faults, notices, terms
from evalkit.errors import CardError, Problem
from evalkit.family import Family, Member
from evalkit.leaderboard import Definition
from evalkit.markdown import Markdown, link
from evalkit.standings import number


def build_card(
    family: Family,
    member: Member,
    definition: Definition | str | None = None,
    pictured: bool = False,
    book: Book | None = None,
) -> str:
    """The README.md of one member: front matter and text.

    definition: the leaderboard its table of results follows; default what fits the results.
    pictured: whether what `build_figures` gives lies beside the card.
    book: records to rest on, by default the family's own; it notes which ones the card cites.

    Raises:
        CardError: the member is not ours to describe; its licence or name breaks that of its base;
            its metadata is not what cards may hold; or a number is missing, not finite, or not what
            its record says.
    """
    if not member.is_ours:
        raise CardError(
            f"{member.title} was not made by evalkit: its card is its authors'",
            "cards are built for your own model (base.own), built bases, iterations and variants",
        )
    book = Book(records_of(family)) if book is None else book
    metadata = front_matter(family, member, book)
    wrong = list(faults(family.card["license"], base_id(family), [member.title]))
    wrong += [
        Problem(f"the card's {fault.where}", fault.message, fault.fix)
        for fault in card_schema.validate(metadata)
        if fault.severity == "error"
    ]
    if wrong:
        what = f"{member.title} may not be published as its card says"
        raise CardError(what, problems=wrong)
    context = _context(family, member, definition, book)
    context["curves"] = training_picture(family, member) if pictured else None
    context["pictures"] = result_pictures(family, member, definition) if pictured else []
    text = frontmatter.join(metadata, "\n" + render(f"cards/{member.kind}.md.j2", context))
    if member.checkpoint.path.startswith("/") and member.checkpoint.path in text:
        raise CardError(f"the card of {member.title} quotes a path of this machine")
    return sealed(text)


def build_files(
    family: Family,
    member: Member,
    definition: Definition | str | None = None,
    book: Book | None = None,
    before: str | None = None,
    overwrite: bool = False,
) -> dict[str, bytes]:
    """Path in the repository -> content: the card, its pictures, and what else belongs beside it.

    Pictures are made where matplotlib is installed.

    before: the card that this one replaces, whose kept regions go over into it; overwrite: what
        else was edited by hand there may be lost.

    Raises:
        CardError: as `build_card` does; or the card that is to be replaced was edited by hand.
    """
    book = Book(records_of(family)) if book is None else book
    text = build_card(family, member, definition, can_draw(), book)
    if before is not None:
        text = rebuilt(text, before, overwrite)
    texts = {CARD_FILE: text, **eval_results(family, member, book), **notices(family, member)}
    files = {name: content.encode("utf-8") for name, content in texts.items()}
    return {**files, **(build_figures(family, member, definition) if can_draw() else {})}


def _context(
    family: Family, member: Member, definition: Definition | str | None, book: Book
) -> dict[str, Any]:
    tables = result_tables(family, member, definition)
    columns = [column for one in tables for column in one.standings.definition.columns]
    parent = parent_of(family, member)
    return {
        "family": family,
        "member": member,
        "plural": False,
        "card": family.card,
        "parent": parent and member_link(family, parent),
        "base": relatives.base(family),
        "lineage": [relatives.step(family, one, member) for one in line_of(family, member)],
        "methods": [making.method_link(name) for name in methods(family, member)],
        "results": [_table(family, one, book) for one in tables],
        "versus": versus.versus(family, member, columns),
        "gate": versus.gate(family, member),
        "measured": evaluation.measured(family, member, book),
        "snippet": use.snippet(family, member),
        "serve": f"vllm serve {use.model_id(family, member)}",
        "local": family.published and endpoint(family) is None,
        "base_id": base_id(family),
        "round": round_of(family, member),
        "newer": relatives.newer(family, member),
        "siblings": [relatives.sibling(family, one) for one in family.members if one is not member],
        "making": making.making(family, member),
        "builder": _builder(family, member),
        "variant": _variant(family, member),
        "imported": unseen(family, member),
        "datasets": [link(name, hub_page(name, "datasets/")) for name in datasets(family, member)],
        "terms": terms(family, member),
        "citations": "\n".join(citations(family, member)).rstrip(),
        "commands": use.commands(family),
        "recipe": use.recipe(family),
        "versions": values.phrase(family.versions),
        "recovery": recovery.kept(family, member, columns, book),
    }


def _table(family: Family, table: ResultTable, book: Book) -> dict[str, Any]:
    """A table of results as a template shows it; every number of it is looked up."""
    cite_standings(book, table.standings)
    return {"title": table.title, "shown": table.markdown(addresses(family))}


def _builder(family: Family, member: Member) -> Markdown:
    reference = (family.recipe.get("base") or {}).get("builder")
    if member.kind != "base" or not reference:
        return Markdown("")
    return making.options(values.portable(reference))


def _variant(family: Family, member: Member) -> dict[str, Any] | None:
    facts, parent = member.variant, parent_of(family, member)
    if facts is None or parent is None:
        return None
    return {
        "label": facts.label,
        "scheme": facts.scheme,
        "note": sources.scheme(facts.scheme)["note"],
        "calibration_samples": facts.calibration_samples,
        "options": making.options(values.portable(facts.options)),
        "parent_size": parent.model.size_bytes,
        "parent_precision": parent.checkpoint.precision,
        "ratio": _ratio(member.model.size_bytes, parent.model.size_bytes),
        "linear_ratio": _ratio(member.model.linear_bytes, parent.model.linear_bytes),
    }


def _ratio(part: int | None, whole: int | None) -> str:
    return f"{number(100 * part / whole, 1)} %" if part and whole else ""
