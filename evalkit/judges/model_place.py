"""Where the model of a judge that runs on this machine lies: in a folder, or on the Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import EvalkitError, Problem, RecipeError
from evalkit.fetching import check_model, fetch_model
from evalkit.roles import Prefetched


class Place(NamedTuple):
    """A model's folder; `name` is the Hub id, or the folder's own name without where it lies."""

    folder: Path
    name: str
    revision: str | None


def place_problems(
    model: str,
    revision: str | None,
    check_folder: Callable[[Path], object],
    check_hub: Callable[[str, str | None], object] = check_model,
) -> list[Problem]:
    """What is wrong with the options `model` and `revision`, seen before any work.

    check_folder, check_hub: raise an EvalkitError if what is there cannot be used.
    """
    folder = Path(model)
    try:
        if folder.is_dir():
            if revision is not None:
                hint = "leave it out, or give a Hub id as model"
                return [Problem("revision", f"{model} is a folder, which has no revisions", hint)]
            check_folder(folder)
        elif model.startswith((".", "/", "~")) or model.count("/") > 1:
            raise RecipeError(f"there is no folder {model}", "give a folder or a Hub id")
        else:
            check_hub(model, revision)
    except EvalkitError as error:
        return [Problem.of("model", error)]
    return []


def find_place(model: str, revision: str | None, example: str) -> Place:
    """The model's place on this machine, fetched from the Hub where it is no folder.

    Raises:
        RecipeError: `model` cannot be a Hub id.
        PrerequisiteError: it cannot be fetched.
    """
    folder = Path(model)
    if folder.is_dir():
        return Place(folder, folder.resolve().name, None)
    fetched = fetch_model(model, revision, "judge.model", example)
    return Place(fetched.folder, model, fetched.revision)


def bring(model: str, revision: str | None, example: str) -> list[Prefetched]:
    """The model brought to this machine, with the errors of `find_place`; nothing of a folder."""
    place = find_place(model, revision, example)
    return [] if place.revision is None else [Prefetched("model", model, place.revision)]
