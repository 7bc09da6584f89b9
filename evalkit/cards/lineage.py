"""Which checkpoints a card's model came from, and what it inherits from them."""

from __future__ import annotations

from evalkit.cards import sources
from evalkit.cards.links import is_hub_id
from evalkit.errors import CardError
from evalkit.family import Family, Member, StatedStep, TrainingFacts


def parent_of(family: Family, member: Member) -> Member | None:
    """The member this one was made from, None for a base and where nobody says from what.

    Raises:
        CardError: its parent is not in the family.
    """
    if member.kind == "base" or (member.kind == "imported" and not member.checkpoint.parent):
        return None
    try:
        return family.member(member.checkpoint.parent or "")
    except KeyError:
        raise CardError(
            f"{member.title} was made from '{member.checkpoint.parent}', which is not in the family"
        ) from None


def line_of(family: Family, member: Member) -> list[Member]:
    """The base, then everything between it and `member`, then `member`."""
    line = [member]
    while (parent := parent_of(family, line[0])) is not None:
        if parent in line:
            raise CardError(f"{member.title} descends from itself")
        line.insert(0, parent)
    return line


def trainings(family: Family, member: Member) -> list[tuple[Member, TrainingFacts]]:
    """Every training step whose weights are in this model, oldest first."""
    line = line_of(family, member)
    return [(one, one.training) for one in line if one.training is not None]


def methods(family: Family, member: Member) -> list[str]:
    """The methods that shaped this model, each once, oldest first."""
    seen = [facts.method for _, facts in trainings(family, member)]
    stated = [step.method for step in steps_of(family, member)]
    return list(dict.fromkeys([*seen, *stated]))


def steps_of(family: Family, member: Member) -> list[StatedStep]:
    """What is stated of every training whose weights are in this model, oldest first."""
    stated = [one.stated for one in line_of(family, member) if one.stated is not None]
    return [step for facts in stated for step in facts.steps]


def round_of(family: Family, member: Member) -> int | None:
    """Which iteration of its own method this is, 1 for the first; None for what is no iteration.

    A family may begin with other methods (SFT, then SPIN): those do not count.
    """
    if member.training is None:
        return None
    name = member.training.method
    number = sum(facts.method == name for _, facts in trainings(family, member))
    again = sum(one.training is not None and one.training.method == name for one in family.members)
    return number if sources.method(name)["self_play"] or again > 1 else None


def citations(family: Family, member: Member) -> list[str]:
    """BibTeX of the methods, the scheme and the suites behind this card, each once."""
    known = [sources.method(name) for name in methods(family, member)]
    known += [sources.scheme(member.variant.scheme)] if member.variant else []
    known += [sources.benchmark(result.benchmark) for result in member.results]
    return list(dict.fromkeys(one["bibtex"] for one in known if one.get("bibtex")))


def datasets(family: Family, member: Member) -> list[str]:
    """Hub ids of all data sets it was trained on, each once."""
    named = [facts.data.get("dataset") for _, facts in trainings(family, member)]
    stated = [name for step in steps_of(family, member) for name in step.data]
    named += [name for name in stated if "/" in name]  # others are plain words
    return list(dict.fromkeys(str(name) for name in named if is_hub_id(name)))
