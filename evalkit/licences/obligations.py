"""What the licences of its bases oblige a model's publisher to: lines of the card, and files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from evalkit.licences.terms import Terms, terms

NOTICE = "NOTICE"


@dataclass(frozen=True)
class Obligations:
    """What must stand on a card and beside it.

    lines: of the card, plain text. files: their text by name. copies: licences whose text must go
    along. name_fault: what is wrong with the model's name, and by which licence; empty for nothing.
    """

    lines: tuple[str, ...]
    files: dict[str, str]
    copies: tuple[Terms, ...]
    name_fault: str = ""


def obligations(licence_ids: Iterable[str], model_name: str) -> Obligations:
    """What licences, each once, of a model's bases oblige to; unknown ids oblige to nothing.

    model_name: the last part of its Hub id.
    """
    held = [found for one in dict.fromkeys(licence_ids) if (found := terms(one))]
    notices = [one.must.notice for one in held if one.must.notice]
    return Obligations(
        lines=tuple(line for one in held for line in _lines(one)),
        files={NOTICE: "\n\n".join(notices) + "\n"} if notices else {},
        copies=tuple(one for one in held if one.must.copy),
        name_fault=next((fault for one in held if (fault := _name_fault(one, model_name))), ""),
    )


def begins_with(name: str, prefix: str) -> bool:
    """Whether a model's name begins with what a licence asks.

    `Llama-3` is as good as `Llama 3`, and `Meta-Llama-3` is how Meta's own models are called.
    """
    return _letters(name.rpartition("/")[2]).removeprefix("meta").startswith(_letters(prefix))


def _lines(one: Terms) -> Iterable[str]:
    yield from one.must.built_with[:1]
    if one.must.use_policy:
        where = one.must.use_policy
        place = f" ({where})" if where.startswith("http") else f": see {where}"
        yield f"The restrictions of use of the {one.name} apply to this model, too{place}."


def _name_fault(one: Terms, name: str) -> str:
    prefix = one.must.name_prefix
    if not prefix or begins_with(name, prefix):
        return ""
    return f"the {one.name} asks that the name begins with '{prefix}'; it is '{name}'"


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
