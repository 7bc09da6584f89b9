"""Facts of published models by Hub id or by the names people write: `leaderboards/models.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field

from evalkit import resources
from evalkit.baselines.reading import Closed, Day, Url, read
from evalkit.errors import RecipeError
from evalkit.leaderboard import MODELS_FILE


@dataclass(frozen=True)
class LicenceSince:
    """A licence id as the publisher states it, from a day or month on (`2024-01-06`, `2024-01`)."""

    id: str
    since: str
    source: str


@dataclass(frozen=True)
class KnownModel:
    """One published model.

    aliases: other names it is written by, beside its id and the last part of that.
    parameters: of all its weights; context_length: in tokens, as its config.json allows.
    licences: in the order of time, the last one holding today; empty where none was found.
    source, date: the page that says all this, and when the model was published.
    """

    id: str
    aliases: tuple[str, ...]
    parameters: int | None
    context_length: int | None
    base: str | None
    licences: tuple[LicenceSince, ...]
    source: str
    date: str

    @property
    def licence(self) -> str | None:
        """The id of the licence that holds today."""
        return self.licences[-1].id if self.licences else None


def known(name: str) -> KnownModel | None:
    """The model of this Hub id or alias; case, blanks, dashes and underscores do not matter."""
    return _by_name().get(_plain(name))


@cache
def models() -> tuple[KnownModel, ...]:
    """All that are known, in the file's order.

    Raises:
        RecipeError: the file is wrong.
    """
    return read_models(Path(str(resources.folder("leaderboards").joinpath(MODELS_FILE))))


def read_models(path: Path) -> tuple[KnownModel, ...]:
    """The models of a file, each name meaning one of them.

    Raises:
        RecipeError: the file is wrong: a name twice, a base or licence history that cannot be.
    """
    found = tuple(_known(row) for row in read(path, KnownModels).models)
    _named(found, path)
    ids = {model.id for model in found}
    for model in found:
        if model.base is not None and model.base not in ids:
            raise RecipeError(
                f"{path}: {model.id} has the base {model.base}, of which there are no facts",
                "add an entry for it, or leave 'base' out",
            )
        days = [one.since for one in model.licences]
        if days != sorted(days):
            raise RecipeError(f"{path}: the licences of {model.id} are not in the order of time")
    return found


class _Licence(Closed):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    since: Day
    source: Url


class _Model(Closed):
    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    aliases: tuple[str, ...] = ()
    parameters: int | None = Field(None, ge=1)
    context_length: int | None = Field(None, ge=1)
    base: str | None = None
    licences: tuple[_Licence, ...] = ()
    source: Url
    date: Day


class KnownModels(Closed):
    """The file: facts of one model after another."""

    models: tuple[_Model, ...]


def _known(row: _Model) -> KnownModel:
    licences = tuple(LicenceSince(one.id, one.since, one.source) for one in row.licences)
    return KnownModel(
        id=row.id,
        aliases=row.aliases,
        parameters=row.parameters,
        context_length=row.context_length,
        base=row.base,
        licences=licences,
        source=row.source,
        date=row.date,
    )


@cache
def _by_name() -> dict[str, KnownModel]:
    return _named(models(), Path(MODELS_FILE))


def _named(found: tuple[KnownModel, ...], path: Path) -> dict[str, KnownModel]:
    """The model of every way to write one; no way may mean two."""
    named: dict[str, KnownModel] = {}
    for model in found:
        for name in (model.id, model.id.rpartition("/")[2], *model.aliases):
            other = named.setdefault(_plain(name), model)
            if other is not model:
                raise RecipeError(
                    f"{path}: '{name}' means both {other.id} and {model.id}",
                    "take it out of the aliases of one",
                )
    return named


def _plain(name: str) -> str:
    words = "".join(letter if letter.isalnum() or letter in "./" else " " for letter in name)
    return "-".join(words.casefold().split())
