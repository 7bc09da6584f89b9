"""What a leaderboard shows: columns of benchmark, task and metric, read from `leaderboards/*.yaml`.

Where none is named, the shipped definition that fits what was measured is taken,
or one is derived: the first score of every task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, ValidationError, model_validator

from evalkit import resources
from evalkit.errors import CardError, Problem, did_you_mean
from evalkit.family import Member
from evalkit.field_errors import WrongValueError, field_errors
from evalkit.leaderboard_column import Closed as Closed
from evalkit.leaderboard_column import Column as Column
from evalkit.leaderboard_column import Found as Found
from evalkit.leaderboard_column import IndexEntry as IndexEntry
from evalkit.leaderboard_column import label as label
from evalkit.recipe_document import KeyPath
from evalkit.records import Scale, Score
from evalkit.yaml_file import read_mapping

MAX_COLUMNS = 6
MODELS_FILE = "models.yaml"  # facts of published models, which `baselines` reads
DECIMALS: Mapping[Scale, int] = {
    "percent": 1,
    "rating": 2,
    "unit": 3,
    "nats": 3,
    "ratio": 3,
    "count": 0,
}


class Average(Closed):
    """The plain mean of some columns, named by their labels; empty unless all are there."""

    label: str
    of: tuple[str, ...] = Field(min_length=2)
    decimals: int = Field(2, ge=0, le=6)


class Definition(Closed):
    """A leaderboard: which columns, which averages, sorted by which of them (best first).

    harness: with which the leaderboard's own figures were made; others are labelled.
    chat_template: its rule, in words.
    """

    name: str
    title: str
    note: str = ""
    harness: str = ""
    chat_template: str = ""
    columns: tuple[Column, ...]
    averages: tuple[Average, ...] = ()
    sort_by: str | None = None

    @model_validator(mode="after")
    def _labels_name_columns(self) -> Self:
        headings = [column.heading for column in self.columns]
        known = [*headings, *(average.label for average in self.averages)]
        if len(set(known)) < len(known):
            raise ValueError("two columns have the same label: give one of them another")
        wanted = [name for average in self.averages for name in average.of]
        for name in wanted:
            if name not in headings:
                raise WrongValueError(
                    f"no column is labelled '{name}'", did_you_mean(name, headings)
                )
        if self.sort_by is not None and self.sort_by not in known:
            hint = did_you_mean(self.sort_by, known)
            raise WrongValueError(f"no column to sort by is labelled '{self.sort_by}'", hint)
        return self


def definition_names() -> tuple[str, ...]:
    """The definitions that ship with evalkit, sorted."""
    files = (entry.name for entry in resources.folder("leaderboards").iterdir())
    defined = (name for name in files if name.endswith(".yaml") and name != MODELS_FILE)
    return tuple(sorted(name.removesuffix(".yaml") for name in defined))


def read_definition(name: str) -> Definition:
    """A shipped definition by name, or one's own by the path of its YAML file.

    Raises:
        CardError: there is none of this name, or it is wrong.
        RecipeError: the file is no YAML mapping.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return _own_definition(path)
    if name not in definition_names():
        raise CardError(
            f"no leaderboard is called '{name}'", did_you_mean(name, definition_names())
        )
    return _shipped(name)


def definition_for(members: Sequence[Member]) -> Definition:
    """The shipped definition that shows all tasks that were measured, else a derived one.

    Of several, the one with most columns. One with averages is kept whole wherever all its columns
    were measured, and gets columns for what else was.
    """
    every = _first_scores(members)
    fitting = [
        definition
        for definition in map(_shipped, definition_names())
        if all(any(column.score_of(member) for member in members) for column in definition.columns)
    ]
    for definition in sorted(fitting, key=lambda one: -len(one.columns)):
        if not _unshown(definition, every):
            return definition
    whole = next((definition for definition in fitting if definition.averages), None)
    return derived(members) if whole is None else _with_more(whole, _unshown(whole, every))


def _unshown(definition: Definition, columns: Sequence[Column]) -> list[Column]:
    return [c for c in columns if not _shows(definition, c.benchmark, c.task)]


def _with_more(definition: Definition, columns: Sequence[Column]) -> Definition:
    every = _told_apart([*definition.columns, *columns[:MAX_COLUMNS]])
    changes = {"name": "results", "title": f"{definition.title}, and more", "columns": every}
    return definition.model_copy(update=changes)


def _shows(definition: Definition, benchmark: str, task: str) -> bool:
    columns = (column for column in definition.columns if column.benchmark == benchmark)
    return any(column.covers(task) for column in columns)


def derived(members: Sequence[Member]) -> Definition:
    """The first score of every task, in the order met, at most `MAX_COLUMNS`."""
    columns = _told_apart(_first_scores(members, MAX_COLUMNS))
    return Definition(name="results", title="Results", columns=columns)


def _first_scores(members: Sequence[Member], at_most: int | None = None) -> list[Column]:
    """A column for the first score of every task, in the order met; parts of a group have none.

    at_most: then the first tasks of all benchmarks are kept before the second ones, so that no
        benchmark is crowded out.
    """
    ranked: dict[tuple[str, str], tuple[int, Column]] = {}
    for member in members:
        for result in member.results:
            whole = [score for score in result.scores if not score.settings.get("part_of")]
            for rank, score in enumerate(_headlines(whole)):
                key = (result.benchmark, score.task)
                column = Column(benchmark=result.benchmark, task=score.task, metric=score.metric)
                ranked.setdefault(key, (rank, column))
    kept = sorted(ranked.values(), key=lambda item: item[0])[:at_most]
    order = list(ranked)
    return sorted((c for _, c in kept), key=lambda c: order.index((c.benchmark, c.task)))


def conventional_columns() -> Iterator[Column]:
    """All shipped columns whose `model-index` entry the field has a convention for."""
    for definition in map(_shipped, definition_names()):
        yield from (column for column in definition.columns if column.model_index)


def _headlines(scores: Sequence[Score]) -> list[Score]:
    first: dict[str, Score] = {}
    for score in scores:
        first.setdefault(score.task, score)
    return list(first.values())


def _told_apart(columns: Sequence[Column]) -> tuple[Column, ...]:
    headings = [column.heading for column in columns]
    return tuple(
        column
        if headings.count(column.heading) == 1
        else column.model_copy(update={"label": f"{column.benchmark}: {column.heading}"})
        for column in columns
    )


@cache
def _shipped(name: str) -> Definition:
    return Definition.model_validate(yaml.safe_load(resources.leaderboard(f"{name}.yaml")))


def _own_definition(path: Path) -> Definition:
    if not path.is_file():
        hint = f"give a YAML file, or one of: {', '.join(definition_names())}"
        raise CardError(f"there is no leaderboard definition {path}", hint)
    data, lines = read_mapping(path, "leaderboard definition")
    try:
        return Definition.model_validate(data)
    except ValidationError as error:
        problems = [
            Problem(
                f"{path}:{_line(lines, key)}  {'.'.join(map(str, key))}".rstrip(), message, hint
            )
            for key, message, hint in field_errors(Definition, error, "key")
        ]
        raise CardError(f"{path} is no leaderboard definition", problems=problems) from None


def _line(lines: Mapping[KeyPath, int], key: KeyPath) -> int:
    """The line of a key, or of the nearest above it that the file has."""
    while key not in lines:
        key = key[:-1]
    return lines[key]
