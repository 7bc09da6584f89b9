"""The page of a whole family, such as a collection has: its models, their results, their terms."""

from __future__ import annotations

from evalkit.cards import making, relatives, sources, values
from evalkit.cards.lineage import citations, datasets, methods
from evalkit.cards.links import addresses, base_id, hub_page, member_link
from evalkit.cards.recording import Book, cite_standings, records_of
from evalkit.cards.regions import sealed
from evalkit.cards.rendering import render
from evalkit.cards.result_tables import result_tables
from evalkit.cards.terms import terms
from evalkit.family import Family, Member
from evalkit.markdown import Markdown, link, table
from evalkit.standings import EMPTY


def build_family_page(family: Family) -> str:
    """Markdown without metadata: the page belongs to no single repository."""
    last = next((one for one in reversed(family.members) if one.kind != "variant"), None)
    newest = last or family.members[-1]
    shaped = list(dict.fromkeys(name for one in family.members for name in methods(family, one)))
    data = list(dict.fromkeys(name for one in family.members for name in datasets(family, one)))
    tables, book = result_tables(family, newest, own_row=False), Book(records_of(family))
    for one in tables:
        cite_standings(book, one.standings)  # each number has a record, in its model's repository
    cited = dict.fromkeys(entry for one in family.members for entry in citations(family, one))
    context = {
        "card": family.card,
        "member": newest,
        "plural": True,
        "base_id": base_id(family),
        "base": relatives.base(family),
        "models": _models(family),
        "results": [
            {"title": one.title, "shown": one.markdown(addresses(family))} for one in tables
        ],
        "methods": [_method(name) for name in shaped],
        "datasets": [link(name, hub_page(name, "datasets/")) for name in data],
        "terms": terms(family, newest),
        "citations": "\n".join(cited).rstrip(),
        "versions": values.phrase(family.versions),
    }
    return sealed(render("cards/family.md.j2", context))


def _models(family: Family) -> Markdown:
    """Every member: what it is, how many parameters it has and what its weights take."""
    rows = [
        [
            member_link(family, one),
            relatives.what(family, one),
            _number(one, "parameters"),
            _number(one, "size"),
        ]
        for one in family.members
    ]
    head = ["Model", "What it is", "Parameters", "Weights"]
    return table(head, rows, ["left", "left", "right", "right"])


def _number(member: Member, what: str) -> Markdown:
    model = member.model
    if what == "parameters" and model.parameters is not None:
        return values.parameters(model.parameters)
    if what == "size" and model.size_bytes is not None:
        return values.size(model.size_bytes)
    return Markdown(EMPTY)


def _method(name: str) -> Markdown:
    maths = sources.method(name)["maths"]
    return Markdown(f"{making.method_link(name)}{f'. {maths}' if maths else ''}")
