"""The numbers that a card states, each with what it says it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit.card_reading import Document
from evalkit.card_reading.figure import Figure
from evalkit.card_reading.figures import figures
from evalkit.card_reading.model_names import model_key
from evalkit.card_reading.numbers import number_of, value_of
from evalkit.verification.known import Known, normalised, plain_task

_INDEX = "model-index"
_INTERVAL = re.compile(r"\[\s*([-−]?[\d.,]*\d)\s*,\s*([-−]?[\d.,]*\d)\s*\]")
_VALUES = frozenset({"value", "value 95", "score", "result"})  # headings of values, not of a score


@dataclass(frozen=True)
class Claim:
    """A number of a card.

    model: as written; empty for the card's own. task, metric: canonical; empty where only known
    numbers tell what it is. heading: by which of their names the card calls it.
    settings: what the card says of how it was made. beside: n, missing, stderr, ci_low and ci_high,
    where they are stated with it. file: in which it stands, where that is not the card.
    """

    line: int
    shown: str
    value: float
    decimals: int
    model: str
    task: str
    metric: str
    heading: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)
    file: str = ""

    @property
    def name(self) -> str:
        """Of what it is, for people."""
        return " ".join(part for part in (self.task, self.metric) if part) or self.heading


def claims_of(card: Document, known: Sequence[Known] = ()) -> list[Claim]:
    """Every score that a card states, in line order.

    known: their names are understood too, where they head rows or columns of tables.
    """
    names: dict[str, set[tuple[str, str]]] = {}
    for one in known:
        for name in one.names:
            names.setdefault(name, set()).add((plain_task(one.score.task), one.score.metric))
    cells = list(_named_cells(card, known, names))
    entries = {line: name for line, name in _entries(card) if name in names}
    found = []
    for figure in figures(card):
        claim, cell = _claim(figure), _same_cell(figure, cells, names)
        if cell is not None:
            cells.remove(cell)
            claim = replace(claim, heading=cell.heading, beside=cell.beside)
        elif figure.where == "metadata":
            claim = replace(claim, heading=entries.get(figure.line, ""))
        found.append(claim)
    return sorted([*found, *cells], key=lambda one: one.line)


def _same_cell(
    one: Figure, cells: Sequence[Claim], names: Mapping[str, Collection[tuple[str, str]]]
) -> Claim | None:
    """The cell that a figure was read from; of several with one number, that of its score."""
    alike = [cell for cell in cells if (cell.line, cell.shown) == (one.line, one.text)]
    meant = (plain_task(one.task), one.metric)
    exact = (cell for cell in alike if meant in names[cell.heading])
    return next(exact, alike[0] if len(alike) == 1 else None)


def _claim(one: Figure) -> Claim:
    return Claim(
        line=one.line,
        shown=one.text,
        value=one.value,
        decimals=one.decimals,
        model=one.model or "",
        task=one.task,
        metric=one.metric or "",
        settings=one.settings,
        beside=dict(_beside(one)),
    )


def _named_cells(card: Document, known: Sequence[Known], names: Collection[str]) -> Iterator[Claim]:
    """Numbers in tables of which a known score heads the row or the column."""
    models = {model_key(one.model) for one in known}
    for table in card.tables:
        headings = [normalised(cell) for cell in table.head.plain()]
        for row in table.rows:
            first, *cells = row.plain()
            for heading, cell in zip(headings[1:], cells, strict=False):
                found = number_of(cell)
                by_column = heading in names
                name, other = (heading, first) if by_column else (normalised(first), heading)
                fits = by_column or heading in _VALUES or model_key(heading) in models
                if found is not None and fits and name in names:
                    model = other if model_key(other) in models else ""
                    counts = _counts(headings[1:], cells) if heading in _VALUES else {}
                    beside = {**dict(_limits(found.text)), **counts}
                    yield Claim(row.line, found.text, found.value, found.decimals, model,
                                "", "", name, beside=beside)  # fmt: skip


def _counts(headings: Sequence[str], cells: Sequence[str]) -> dict[str, float]:
    """What a row says in columns of its own for n and missing items."""
    found = {
        heading: number_of(cell)
        for heading, cell in zip(headings, cells, strict=False)
        if heading in ("n", "missing")
    }
    return {heading: one.value for heading, one in found.items() if one is not None}


def _entries(card: Document) -> Iterator[tuple[int, str]]:
    """The line of each value in `model-index`, and what its keys call it."""
    for i, model in enumerate(_list(card.metadata.get(_INDEX))):
        for j, result in enumerate(_list(_get(model, "results"))):
            task = _get(_get(result, "dataset"), "type")
            for k, metric in enumerate(_list(_get(result, "metrics"))):
                line = card.key_line(_INDEX, i, "results", j, "metrics", k, "value")
                yield line, normalised(f"{task}: {_get(metric, 'type')}")


def _beside(one: Figure) -> Iterator[tuple[str, float]]:
    if one.where != "metadata":
        yield from _limits(one.text)
        return
    limits = one.settings.get("confidence_interval_95")
    named = {key: one.settings.get(key) for key in ("n", "missing", "stderr")}
    if isinstance(limits, list) and len(limits) == 2:
        named |= {"ci_low": limits[0], "ci_high": limits[1]}
    for key, value in named.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield key, float(value)


def _limits(text: str) -> Iterator[tuple[str, float]]:
    """An interval in square brackets behind a number."""
    found = _INTERVAL.search(text)
    if found is not None:
        for key, digits in zip(("ci_low", "ci_high"), found.groups(), strict=True):
            yield key, value_of(digits)[0]


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
