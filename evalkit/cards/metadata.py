"""The front matter of a card: what Hubs index it by, each key from the recipe or a record."""

from __future__ import annotations

from typing import Any

from evalkit.cards.lineage import datasets, line_of, methods
from evalkit.cards.links import base_id, repository
from evalkit.cards.model_index import model_index
from evalkit.cards.recording import Book
from evalkit.errors import CardError
from evalkit.family import Family, Member

RELATIONS = {"iteration": "finetune", "variant": "quantized"}


def front_matter(family: Family, member: Member, book: Book) -> dict[str, Any]:
    """All metadata of one checkpoint's card; keys without a value are left out.

    Raises:
        CardError: the licence is `other` without a name and a link.
    """
    origin = base_model(family, member)
    newer = new_version(family, member)
    metadata: dict[str, Any] = {
        **_licence(family),
        "language": list(family.card.get("language") or []),
        "library_name": "peft" if _relation(member) == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        "base_model": origin,
        "base_model_relation": _relation(member) if origin else None,
        "datasets": datasets(family, member),
        "new_version": newer,
        "quantized_by": _quantized_by(member),
        "tags": tags(family, member),
        "model-index": model_index(family, member, book),
    }
    return {key: value for key, value in metadata.items() if value}


def base_model(family: Family, member: Member) -> str | None:
    """The Hub id of the nearest ancestor that others can load; of an imported one, as stated.

    Iteration k names iteration k-1, whose weights it started from, and a variant the
    checkpoint it was quantized from: the Hub's model tree then is the true lineage.
    """
    if member.imported is not None:
        return base_id(family)
    ancestors = line_of(family, member)[:-1]
    found = (repository(family, ancestor) for ancestor in reversed(ancestors))
    return next((repo for repo in found if repo), None)


def new_version(family: Family, member: Member) -> str | None:
    """The published repository that supersedes this one."""
    if member.superseded_by is None:
        return None
    try:
        return repository(family, family.member(member.superseded_by))
    except KeyError:
        raise CardError(
            f"{member.title} is superseded by '{member.superseded_by}', which is not in the family"
        ) from None


def tags(family: Family, member: Member) -> list[str]:
    """Methods in its lineage, scheme tags, and the recipe's own, each once."""
    scheme = member.variant.tags if member.variant else ()
    own = family.card.get("tags") or ()
    # Whether a model that evalkit has not seen is one to talk with is for its authors to say.
    always = ["evalkit"] if member.imported else ["conversational", "evalkit"]
    return list(dict.fromkeys([*always, *methods(family, member), *scheme, *own]))


def _quantized_by(member: Member) -> str | None:
    if member.kind == "variant":
        return "evalkit"
    return member.stated.quantized_by or None if member.stated else None


def _relation(member: Member) -> str | None:
    return member.imported.relation if member.imported else RELATIONS.get(member.kind)


def _licence(family: Family) -> dict[str, Any]:
    card = family.card
    name, link = card.get("license_name"), card.get("license_link")
    if card["license"] == "other" and not (name and link):
        raise CardError(
            "the licence is 'other', but card.license_name or card.license_link is missing",
            "name it, and link its text (a URL, or LICENSE in the repository)",
        )
    return {"license": card["license"], "license_name": name, "license_link": link}
