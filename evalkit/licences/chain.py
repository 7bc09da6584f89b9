"""The licences of the models that a model was made from, base after base."""

from __future__ import annotations

from dataclasses import dataclass

from evalkit.baselines import KnownModel, LicenceSince, known


@dataclass(frozen=True)
class Link:
    """A base and its licences in the order of time; the last one holds today."""

    model: KnownModel
    licences: tuple[LicenceSince, ...]

    @property
    def licence(self) -> str | None:
        """The id of the licence that holds today."""
        return self.model.licence


def chain(base: str) -> tuple[Link, ...]:
    """The base of this Hub id or name, what that was made from, and so on; as far as is known."""
    found: list[Link] = []
    model = known(base)
    while model is not None and model.id not in {link.model.id for link in found}:
        found.append(Link(model, model.licences))
        model = known(model.base) if model.base else None
    return tuple(found)
