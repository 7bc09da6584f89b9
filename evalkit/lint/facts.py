"""What is known of families, data sets, languages and so on: `templates/lint/*.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from evalkit import resources


@dataclass(frozen=True)
class DatasetFacts:
    """Who made what of a data set. by: models, by part; human: parts; source: who says so."""

    name: str
    by: Mapping[str, tuple[str, ...]]
    human: frozenset[str]
    source: str

    @property
    def models(self) -> tuple[str, ...]:
        """All models that wrote or judged something in it."""
        return tuple(dict.fromkeys(model for models in self.by.values() for model in models))


@dataclass(frozen=True)
class Paper:
    """A method as texts call it, and the paper to cite for it."""

    name: re.Pattern[str]
    title: str
    arxiv: str


@dataclass(frozen=True)
class FamilyName:
    """A family of models that a text names, and where in it."""

    family: str
    start: int
    end: int


def families_in(text: str) -> tuple[FamilyName, ...]:
    """Families that a text names, in order; of names within a longer one, the longer."""
    found = [
        FamilyName(family, mark.start(), mark.end())
        for family, (pattern, _) in _families().items()
        for mark in pattern.finditer(text)
    ]
    found.sort(key=lambda one: (one.start, -one.end))
    kept: list[FamilyName] = []
    for one in found:
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return tuple(kept)


def with_kin(families: Iterable[str]) -> frozenset[str]:
    """Families and those that they derive from."""
    known, to_do = set[str](), list(families)
    while to_do:
        family = to_do.pop()
        if family not in known:
            known.add(family)
            to_do += _families()[family][1] if family in _families() else ()
    return frozenset(known)


@cache
def dataset_facts(dataset: str) -> DatasetFacts | None:
    """What is known of a data set, by its Hub id; derived sets are known by their origin's name."""
    name = dataset.rpartition("/")[2]
    return next((facts for pattern, facts in _datasets() if pattern.search(name)), None)


@cache
def papers() -> tuple[Paper, ...]:
    """The methods whose papers are known; those that evalkit trains come first."""
    own = resources.template_data("methods.yaml")
    found = [
        Paper(
            re.compile(rf"\b(?:{re.escape(label)}|{_loosely(method['name'])})\b"),
            title=_title(method["bibtex"]),
            arxiv=method["arxiv"],
        )
        for method in own.values()
        for label in [method["label"]]
        if "arxiv" in method
    ]
    others = resources.template_data("lint/papers.yaml")
    known = {paper.arxiv for paper in found}
    return tuple(found) + tuple(
        Paper(re.compile(rf"\b(?:{one['name']})\b"), one["title"], one["arxiv"])
        for one in others
        if one["arxiv"] not in known
    )


@cache
def language_codes() -> Mapping[str, str]:
    """ISO 639-1 codes by the English names of languages, in lower case."""
    return {
        name.lower(): code for name, code in resources.template_data("lint/languages.yaml").items()
    }


@cache
def sections() -> Mapping[str, re.Pattern[str]]:
    """What headings of each part that a card should have look like."""
    return {
        part: re.compile("|".join(patterns), re.IGNORECASE)
        for part, patterns in resources.template_data("lint/sections.yaml").items()
    }


@cache
def _families() -> dict[str, tuple[re.Pattern[str], tuple[str, ...]]]:
    return {
        name: (
            re.compile(rf"(?<![a-z])(?:{entry['pattern']})", re.IGNORECASE),
            tuple(entry.get("kin", ())),
        )
        for name, entry in resources.template_data("lint/families.yaml").items()
    }


@cache
def _datasets() -> tuple[tuple[re.Pattern[str], DatasetFacts], ...]:
    return tuple(
        (
            re.compile(entry["pattern"], re.IGNORECASE),
            DatasetFacts(
                name=entry["name"],
                by={part: tuple(models) for part, models in entry.get("by", {}).items()},
                human=frozenset(entry.get("human", ())),
                source=entry["source"],
            ),
        )
        for entry in resources.template_data("lint/datasets.yaml")
    )


def _loosely(name: str) -> str:
    """A method's name however its words are joined and begun: `Self-Play fine-tuning`."""
    words = re.split(r"[ -]", name)
    return "[ -]?".join(f"[{word[0].upper()}{word[0].lower()}]{word[1:]}" for word in words)


def _title(bibtex: str) -> str:
    found = re.search(r"title\s*=\s*\{(.*?)\},?\s*$", bibtex, re.MULTILINE)
    return found[1] if found else ""
