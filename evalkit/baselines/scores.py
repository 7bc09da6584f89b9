"""Scores that others reported of published models: `leaderboards/reported/*.yaml`.

A file holds one family: its sources, and what each says of each model, as it is printed there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from evalkit import resources
from evalkit.baselines.models import known
from evalkit.baselines.reading import Closed, Day, Url, read
from evalkit.errors import RecipeError, did_you_mean
from evalkit.field_errors import WrongValueError
from evalkit.leaderboard import definition_names, read_definition

REPORTED = "reported"
AVERAGE = "average"

By = Literal["card", "official"]
Printed = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$")]


@dataclass(frozen=True)
class ReportedScore:
    """One number as somebody reported it; nobody measured it here.

    model: Hub id. task, metric: as in `leaderboards/*.yaml`; `average` for a leaderboard's mean.
    value, decimals: as printed. by: the publisher's own `card` (or paper, or repository), or the
        `official` leaderboard that ran the model itself.
    settings: what the source says of how it was made, and the `leaderboard` whose scale it is on.
    family: the file it stands in.
    """

    model: str
    task: str
    metric: str
    value: float
    decimals: int
    by: By
    source: str
    date: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""


@cache
def families() -> tuple[str, ...]:
    """The names of the families, which are those of their files, sorted."""
    folder = resources.folder("leaderboards").joinpath(REPORTED)
    return tuple(
        sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    )


@cache
def reported(family: str | None = None) -> tuple[ReportedScore, ...]:
    """The reported scores of one family, or of all.

    Raises:
        RecipeError: there is no such family, or its file is wrong.
    """
    if family is None:
        return tuple(score for name in families() for score in reported(name))
    if family not in families():
        raise RecipeError(
            f"no family of reported scores is called '{family}'", did_you_mean(family, families())
        )
    folder = resources.folder("leaderboards").joinpath(REPORTED)
    return read_reported(Path(str(folder.joinpath(f"{family}.yaml"))))


def read_reported(path: Path) -> tuple[ReportedScore, ...]:
    """The scores of a family's file, in its order.

    Raises:
        RecipeError: the file is wrong: an unknown model, source or task, one number given twice.
    """
    data = read(path, Family)
    found = tuple(score for row in data.scores for score in _scores(path, data, row))
    seen: set[tuple[Any, ...]] = set()
    for score in found:
        settings = tuple(sorted((key, str(value)) for key, value in score.settings.items()))
        key = (score.model, score.task, score.metric, score.source, settings)
        if key in seen:
            raise RecipeError(f"{path}: {score.model} has {score.task} {score.metric} twice")
        seen.add(key)
    return found


class Source(Closed):
    """Where figures stand, and when they were put there."""

    url: Url
    date: Day
    by: By


class Reported(Closed):
    """What one source says of one model: of one task by metric, or of a leaderboard by task."""

    model: str
    source: str
    task: str | None = None
    leaderboard: str | None = None
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    scores: dict[str, Printed] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.task is None) == (self.leaderboard is None):
            raise WrongValueError("give either a task or a leaderboard", "not both")
        return self


class Family(Closed):
    """The file: a family of models, its sources by name, and what they say."""

    title: str
    sources: dict[str, Source]
    scores: tuple[Reported, ...]


def _scores(path: Path, data: Family, row: Reported) -> Iterator[ReportedScore]:
    if known(row.model) is None:
        raise RecipeError(
            f"{path}: there are no facts of {row.model}", "add it to leaderboards/models.yaml"
        )
    if row.source not in data.sources:
        hint = did_you_mean(row.source, data.sources)
        raise RecipeError(f"{path}: no source is called '{row.source}'", hint)
    source = data.sources[row.source]
    for name, printed in row.scores.items():
        task, metric = (row.task, name) if row.task else (name, _metric(path, row, name))
        board = {} if row.leaderboard is None else {"leaderboard": row.leaderboard}
        yield ReportedScore(
            model=row.model,
            task=str(task),
            metric=metric,
            value=float(printed),
            decimals=len(printed.partition(".")[2]),
            by=source.by,
            source=source.url,
            date=source.date,
            settings={**row.settings, **board},
            family=path.stem,
        )


def _metric(path: Path, row: Reported, task: str) -> str:
    """Which metric of a task the leaderboard shows."""
    if task == AVERAGE:
        return AVERAGE
    if row.leaderboard not in definition_names():
        raise RecipeError(
            f"{path}: no leaderboard is called '{row.leaderboard}'",
            did_you_mean(str(row.leaderboard), definition_names()),
        )
    columns = read_definition(row.leaderboard).columns
    metrics = {column.task: column.metric for column in columns}
    if task not in metrics:
        raise RecipeError(
            f"{path}: {row.leaderboard} shows no task '{task}'",
            did_you_mean(task, [*metrics, AVERAGE]),
        )
    return metrics[task]
