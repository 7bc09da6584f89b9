"""What changed between two cards: metadata, figures, sections, links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from evalkit.card_reading import Document
from evalkit.card_reading.figure import Figure
from evalkit.card_reading.figures import figures
from evalkit.card_reading.model_names import model_key, own_name
from evalkit.score_records import FOLDER
from evalkit.standings import number

Kind = Literal["licence", "base", "metadata", "figure", "section", "link"]
_KINDS: Mapping[str, Kind] = {
    "license": "licence", "license_name": "licence", "license_link": "licence",
    "base_model": "base", "base_model_relation": "base",
}  # fmt: skip
_FIGURES = frozenset({"model-index"})  # of the metadata: told figure by figure


@dataclass(frozen=True)
class Change:
    """One thing that one card has and the other has not, or has otherwise.

    what: the key, the score, the section or the link. before, after: empty where it is not there.
    by: by how much a figure changed, with its sign. lines: where it stands in each; 0 for nowhere.
    """

    kind: Kind
    what: str
    before: str = ""
    after: str = ""
    by: str = ""
    lines: tuple[int, int] = (0, 0)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def changes(a: Document, b: Document) -> list[Change]:
    """What is otherwise in `b`: metadata first, then figures, sections and links."""
    return [*_metadata(a, b), *_figures(a, b), *_sections(a, b), *_links(a, b)]


def _metadata(a: Document, b: Document) -> Iterator[Change]:
    keys = [*a.metadata, *(key for key in b.metadata if key not in a.metadata)]
    for key in keys:
        if key in _FIGURES or a.metadata.get(key) == b.metadata.get(key):
            continue
        lines = tuple(one.key_line(key) if key in one.metadata else 0 for one in (a, b))
        yield Change(_KINDS.get(str(key), "metadata"), str(key), _text(a.metadata.get(key)),
                     _text(b.metadata.get(key)), lines=(lines[0], lines[1]))  # fmt: skip


def _figures(a: Document, b: Document) -> Iterator[Change]:
    """Each score of each model once: a card may state it in several places.

    What one card says of the other's own model is held against what that says of itself.
    """
    before, after = _by_score(a), _by_score(b)
    names = [{model_key(name) for name in (card.title, own_name(card))} for card in (a, b)]
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if old is None and model_key(key.model) in names[0]:
            old = _of_itself(before, key, new)
        if new is None and model_key(key.model) in names[1]:
            new = _of_itself(after, key, old)
        if old is None or new is None:
            one = old or new
            assert one is not None
            texts = (one.text, "") if old else ("", one.text)
            lines = (one.line, 0) if old else (0, one.line)
            yield Change("figure", str(key), *texts, lines=lines)
        elif not old.agrees(new):
            lines = (old.line, new.line)
            yield Change("figure", str(key), old.text, new.text, _by(old, new), lines)


def _of_itself(stated: Mapping[_Key, Figure], key: _Key, other: Figure | None) -> Figure | None:
    """What a card says of its own model, where the other one says it of that by its name."""
    own = {known: one for known, one in stated.items() if not known.model}
    alike = [one for known, one in own.items() if known[1:3] == key[1:3]]
    equal = (one for one in alike if other is not None and one.agrees(other))
    return next(equal, own.get(key._replace(model="")))


class _Key(NamedTuple):
    """What two figures share that can be compared; number: of several that are called alike."""

    model: str
    task: str
    metric: str
    shots: Any
    number: int

    def __str__(self) -> str:
        shots = "" if self.shots is None else f"({self.shots}-shot)"
        number = f"no. {self.number + 1}" if self.number else ""
        return " ".join(filter(None, (self.model, self.task, self.metric, shots, number)))


def _by_score(card: Document) -> dict[_Key, Figure]:
    """Each score where it is stated first: in the metadata, else in a table, else in prose."""
    found: dict[_Key, Figure] = {}
    for place in ("metadata", "table", "prose"):
        stated: dict[_Key, list[Figure]] = {}
        for one in figures(card):
            key = _Key(one.model or "", one.task, one.metric or "", one.settings.get("few_shot"), 0)
            told = any(known[:3] == key[:3] and one.agrees(found[known]) for known in found)
            alike = stated.get(key, [])
            again = place != "metadata" and any(one.agrees(other) for other in alike)
            if one.where == place and not told and not again:
                stated[key] = [*alike, one]
        for key, alike in stated.items():
            found |= {key._replace(number=n): one for n, one in enumerate(alike)}
    return found


def _by(old: Figure, new: Figure) -> str:
    (before, first), (after, second) = old.on_scale, new.on_scale
    change = number(after - before, max(first, second))
    return change if change.startswith("-") else f"+{change}"


def _sections(a: Document, b: Document) -> Iterator[Change]:
    before, after = ({one.title: one.line for one in card.sections[1:]} for card in (a, b))
    for title in dict.fromkeys([*before, *after]):
        if (title in before) != (title in after):
            yield Change(
                "section", title, "there" * (title in before), "there" * (title in after),
                lines=(before.get(title, 0), after.get(title, 0)),
            )  # fmt: skip


def _links(a: Document, b: Document) -> Iterator[Change]:
    """Links but those to records, which are other ones for any other number."""
    before, after = (
        {one.target: one.line for one in card.links if not one.target.startswith(f"{FOLDER}/")}
        for card in (a, b)
    )
    for target in dict.fromkeys([*before, *after]):
        if (target in before) != (target in after):
            yield Change(
                "link", target, "there" * (target in before), "there" * (target in after),
                lines=(before.get(target, 0), after.get(target, 0)),
            )  # fmt: skip


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
