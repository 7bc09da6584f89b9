"""Everything a recipe takes from the Hub, brought to this machine: then it runs without one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from evalkit.console import say
from evalkit.durable import read_json, write_text
from evalkit.errors import EvalkitError, PrerequisiteError, Problem
from evalkit.fetching import fetch_model
from evalkit.pipeline import base, plugins
from evalkit.recipe import Evaluation, Recipe
from evalkit.recipe_document import KeyPath
from evalkit.recipe_file import RecipeFile, problems_error
from evalkit.records import dumps
from evalkit.roles import PluginRef, Prefetched
from evalkit.stages import Stage

MANIFEST = "prefetched.json"
_CACHES = {"HF_HUB_CACHE": "hub", "HF_DATASETS_CACHE": "datasets"}
_CLIENTS = ("huggingface_hub", "datasets", "transformers")
Named = tuple[str, KeyPath, PluginRef]  # kind of plug-in, where the recipe names it, as it does


class Place(NamedTuple):
    """Where the caches lie: below `folder`, else where this machine has them anyway."""

    folder: Path | None

    def command(self, recipe: str) -> str:
        """What to type to run a recipe with nothing but what is there."""
        home = f"HF_HOME={self.folder.absolute()} " if self.folder else ""
        return f"{home}HF_HUB_OFFLINE=1 evalkit train-and-publish {recipe}"


def point_at(folder: Path) -> Place:
    """Has everything fetched from now on lie below a folder, laid out as HF_HOME is.

    The login stays where it is. To be called before the Hub's clients are imported.
    """
    imported = [name for name in _CLIENTS if name in sys.modules]
    assert not imported, f"{imported[0]} has read already where its cache lies"
    for name, below in _CACHES.items():
        os.environ[name] = str(folder.absolute() / below)
    return Place(folder)


def prefetch(file: RecipeFile, place: Place) -> list[Prefetched]:
    """Brings models, datasets and judge data of a recipe; a folder gets a list of all it holds.

    Raises:
        RecipeError: something cannot be had; `problems` has all that cannot.
    """
    found: dict[str, Prefetched] = {}
    problems: list[Problem] = []
    for key, bring in _parts(file.recipe):
        try:
            brought = bring()
        except EvalkitError as error:
            problems.append(Problem.of(f"{file.where(key)}  {'.'.join(map(str, key))}", error))
            continue
        for one in brought:
            if _identity(one) not in found:
                say(f"  {one.kind} {one.repo} at {one.revision[:12]}")
            found[_identity(one)] = one
    if place.folder is not None:
        _note(place.folder, list(found.values()))
    if problems:
        raise problems_error(problems)
    return list(found.values())


def _identity(one: Prefetched) -> str:
    return dumps([one.kind, one.repo, one.what])


def _note(folder: Path, brought: Sequence[Prefetched]) -> None:
    """Adds to the list of what a folder holds: several recipes may share one."""
    file = folder / MANIFEST
    before = read_json(file, [], hint="remove it: the next prefetch writes it anew")
    every = {_identity(one): one for one in (*(Prefetched(**row) for row in before), *brought)}
    rows = [every[key]._asdict() for key in sorted(every)]
    write_text(file, json.dumps(rows, indent=1, sort_keys=True) + "\n")


def _parts(recipe: Recipe) -> Iterator[tuple[KeyPath, Callable[[], list[Prefetched]]]]:
    """Every part of a recipe that may read the Hub, once each, and what brings its data here."""
    if recipe.base.model is not None:
        yield ("base", "model"), partial(_base, recipe.base.model, recipe.base.revision)
    done: set[str] = set()
    for kind, key, ref in _plugins(recipe):
        name = f"{kind} {dumps(ref.model_dump())}"
        if name not in done:
            done.add(name)
            yield key, partial(_plugin, kind, ref)


def _base(model: str, revision: str | None) -> list[Prefetched]:
    if Path(model).is_dir():
        return []
    fetched = fetch_model(model, revision, "base.model", base.EXAMPLE)
    return [Prefetched("model", model, fetched.revision)]


def _plugin(kind: str, ref: PluginRef) -> list[Prefetched]:
    plugin = plugins.make(kind, ref)
    if lacking := plugins.missing_packages(plugin):
        raise PrerequisiteError(f"{ref.name}: {lacking[0].message}", lacking[0].hint)
    found: list[Prefetched] = plugin.prefetch()
    return found


def _plugins(recipe: Recipe) -> Iterator[Named]:
    yield "engines", ("engine",), recipe.engine
    if recipe.base.builder is not None:
        yield "builders", ("base", "builder"), recipe.base.builder
    for number, stage in enumerate(recipe.stages):
        for position in range(stage.iterations):
            yield from _of_stage(stage.of_iteration(position), ("stages", number))
    for number, variant in enumerate(recipe.variants):
        yield "schemes", ("variants", number), variant
    if recipe.calibration is not None:
        yield "sources", ("calibration",), recipe.calibration
    yield from _of_evaluation(recipe.evaluation)


def _of_stage(stage: Stage, key: KeyPath) -> Iterator[Named]:
    yield "methods", (*key, "method"), stage.method
    yield "sources", (*key, "prompts"), stage.prompts
    if stage.judge is not None:
        yield "judges", (*key, "judge"), stage.judge


def _of_evaluation(section: Evaluation) -> Iterator[Named]:
    if section.judge is not None:
        yield "judges", ("evaluation", "judge"), section.judge
    if section.audit is not None and section.audit.second is not None:
        yield "judges", ("evaluation", "audit", "second"), section.audit.second
    further = section.contamination.sources if section.contamination else ()
    for number, ref in enumerate(further):
        yield "sources", ("evaluation", "contamination", "sources", number), ref
    for number, ref in enumerate(section.benchmarks):
        key = ("evaluation", "benchmarks", number)
        yield "benchmarks", key, ref
        for source in plugins.make("benchmarks", ref).sources():
            yield "sources", key, source
