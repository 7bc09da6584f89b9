"""Composes a recipe from a model and flags: commands without a recipe run the same plan."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import frontmatter
from evalkit.errors import CardError, RecipeError
from evalkit.pipeline.checkpoints import FOLDER
from evalkit.recipe_document import Document, plugin_data
from evalkit.recipe_file import SUFFIXES

MODEL = "MODEL"
UNKNOWN_LICENCE = "unknown"  # the Hub's own word; nobody reads it until a card is written
_HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")
_CARD_KEYS = ("license", "license_name", "license_link", "language")


@dataclass(frozen=True)
class ModelFlags:
    """What flags say in place of a recipe; plug-ins as `NAME` or `NAME:option=value,...`.

    calibration: a file of prompts with responses.
    """

    benchmark: tuple[str, ...] = ()
    scheme: tuple[str, ...] = ()
    judge: str | None = None
    engine: str | None = None
    calibration: str | None = None
    revision: str | None = None
    license: str | None = None
    title: str | None = None
    namespace: str | None = None
    endpoint: str | None = None

    def given(self) -> list[str]:
        """The flags that were used, as typed."""
        return [f"--{name}" for name, value in vars(self).items() if value]


class Model(NamedTuple):
    """A model as the command line names it: a folder, or a Hub id with a revision."""

    path: str
    revision: str | None
    is_folder: bool

    @property
    def name(self) -> str:
        """Its last part, as a recipe and a repository may be called.

        A checkpoint in the folder of a step is called after its run and step instead.
        """
        last = Path(self.path).name
        place = Path(self.path).resolve().parts if self.is_folder else ()
        if len(place) > 4 and place[-1] == FOLDER and place[-3] == "steps":
            last = f"{place[-4]}-{place[-2].removesuffix('-train')}"
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", last)
        plain = re.sub(r"([-.])\1+", r"\1", plain).strip("-._")
        return plain[:80] or "model"


def is_recipe(text: str) -> bool:
    """Whether an argument is a recipe's file; anything else is a model."""
    return text.endswith(SUFFIXES)


def read_model(text: str, revision: str | None = None) -> Model:
    """The model that an argument names: a folder, a Hub id, or `id@revision`.

    Raises:
        RecipeError: it can be neither; the hint names a recipe that may have been meant.
    """
    if Path(text).is_dir():
        return Model(os.path.abspath(text), revision, is_folder=True)
    if Path(text).exists():
        raise RecipeError(
            f"{text} is a file, and no recipe by its name",
            "a recipe ends in .yaml; a model is a folder with config.json, or a Hub id",
        )
    name, at, pinned = text.partition("@")
    meant = _recipe_near(text)
    if meant:
        hint = f"did you mean the recipe {meant}?"
        if _HUB_ID.fullmatch(text):
            hint += f"   (the Hub's model of that name is {text}@main)"
        raise RecipeError(f"there is no folder {text}", hint)
    if not _HUB_ID.fullmatch(name):
        raise RecipeError(
            f"there is no folder {text}",
            "a model is a folder, or a Hub id such as org/name; a recipe ends in .yaml",
        )
    return Model(name, pinned if at else revision, is_folder=False)


def compose(model: Model, flags: ModelFlags, *, own: bool, name: str = "") -> Document:
    """The recipe that a model and flags stand for, each key with the flag that said it.

    own: whether the model, where it is a folder, gets a card and a repository as our own.
    name: of the recipe and its run, by default the model's.

    Raises:
        RecipeError: a plug-in's options are not of the form `option=value`.
    """
    found = Document({}, {(): "the flags"})
    found.put(("name",), name or model.name, MODEL)
    found.put(("base", "model"), model.path, MODEL)
    if model.revision:
        found.put(("base", "revision"), model.revision, "--revision")
    if own and model.is_folder:
        found.put(("base", "own"), True, MODEL)
    _put_plugins(found, flags)
    _put_card(found, model, flags)
    for key, value in (("namespace", flags.namespace), ("endpoint", flags.endpoint)):
        if value:
            found.put(("publish", key), value, f"--{key} {value}")
    return found


def _put_plugins(found: Document, flags: ModelFlags) -> None:
    for number, text in enumerate(flags.benchmark):
        _put_plugin(found, ("evaluation", "benchmarks", number), "--benchmark", text)
    for number, text in enumerate(flags.scheme):
        _put_plugin(found, ("variants", number), "--scheme", text)
    if flags.judge:
        _put_plugin(found, ("evaluation", "judge"), "--judge", flags.judge)
    if flags.engine:
        _put_plugin(found, ("engine",), "--engine", flags.engine)
    if flags.calibration:
        value = {"name": "file", "path": flags.calibration}
        found.put(("calibration",), value, f"--calibration {flags.calibration}")


def _put_plugin(found: Document, key: tuple[str | int, ...], flag: str, text: str) -> None:
    said = f"{flag} {text}"
    found.put(key, plugin_data(text, said), said if len(said) <= 60 else said[:57] + "...")


def _put_card(found: Document, model: Model, flags: ModelFlags) -> None:
    """Title and licence; what a folder's own card says of licence and language holds here too."""
    stated = stated_in_card(Path(model.path)) if model.is_folder else {}
    if flags.license:
        stated = {key: value for key, value in stated.items() if not key.startswith("license")}
        found.put(("card", "license"), flags.license, f"--license {flags.license}")
    elif "license" not in stated:
        found.put(("card", "license"), UNKNOWN_LICENCE, "--license")
    for key, value in stated.items():
        found.put(("card", key), value, f"{Path(model.path) / 'README.md'}")
    title = flags.title or found.data["name"]
    found.put(("card", "title"), title, f"--title {flags.title}" if flags.title else MODEL)


def stated_in_card(folder: Path) -> Mapping[str, Any]:
    """Licence and language in the front matter of a folder's README.md, where it has one."""
    try:
        metadata = frontmatter.parse((folder / "README.md").read_text("utf-8")).metadata
    except (OSError, UnicodeDecodeError, CardError):
        return {}
    found = {key: metadata[key] for key in _CARD_KEYS if metadata.get(key)}
    if isinstance(found.get("language"), str):
        found["language"] = [found["language"]]
    return found


def _recipe_near(text: str) -> str:
    """A recipe whose name was probably meant, empty where there is none."""
    name, folder = str(Path(text)), Path(text).parent
    there = [str(file) for suffix in SUFFIXES for file in sorted(folder.glob(f"*{suffix}"))]
    whole = name if Path(name).suffix.startswith(".y") else f"{name}{SUFFIXES[0]}"
    near = get_close_matches(whole, there, n=1, cutoff=0.85)
    return near[0] if near else ""
