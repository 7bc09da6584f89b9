"""Compares models and finished runs with each other: paired differences on the same items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import RecipeError, ScoreError, did_you_mean
from evalkit.pipeline import evaluation, plugins
from evalkit.pipeline.composing import Model, ModelFlags, compose, is_recipe, read_model
from evalkit.pipeline.layout import BASE, checkpoint_names, final_checkpoint
from evalkit.pipeline.run import Orders, Ready, perform, prepare
from evalkit.recipe import Recipe, as_data
from evalkit.recipe_document import Document, KeyPath, apply_overrides
from evalkit.recipe_file import read_recipe
from evalkit.records import Comparison, ResultSet, Score
from evalkit.rundir import PLAN, RECIPE, RUNS, RunDir
from evalkit.stats import comparable, compare


class Entrant(NamedTuple):
    """One side of a comparison: a checkpoint of a run, and how tables name it."""

    label: str
    run: RunDir
    checkpoint: str


class Measured(NamedTuple):
    """A comparison with the two scores it is between."""

    comparison: Comparison
    a: Score
    b: Score


class Refused(NamedTuple):
    """What could not be compared between two entrants, and why."""

    a: str
    b: str
    benchmark: str
    reason: str


class Outcome(NamedTuple):
    """Everything that was compared with the first entrant, and everything that was not."""

    entrants: list[Entrant]
    measured: list[Measured]
    refused: list[Refused]
    seed: int


class Line(NamedTuple):
    """What compare was given, read but not measured: models as documents, runs as they lie."""

    documents: dict[str, Document]
    runs: dict[str, Entrant]
    order: list[str]


def line_up(arguments: Sequence[str], flags: ModelFlags, overrides: Sequence[str]) -> Line:
    """Reads the arguments of `evalkit compare`: `RUN`, `RUN:CHECKPOINT`, or a model.

    Models are measured as the flags say, or else as the first run was.

    Raises:
        RecipeError: an argument is none of these, or stands twice.
    """
    runs = _told_apart({text: one for text in arguments if (one := _entrant(text)) is not None})
    models = {text: _model(text, flags) for text in arguments if text not in runs}
    names = _names(models)
    labels = [runs[text].label if text in runs else names[text] for text in arguments]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise RecipeError(f"{twice} is given twice", "compare different models")
    documents = {}
    for text, model in models.items():
        document = compose(model, flags, own=False, name=names[text])
        if runs:
            _measured_like(document, next(iter(runs.values())).run)
        apply_overrides(document, overrides)
        documents[names[text]] = document
    return Line(documents, {entrant.label: entrant for entrant in runs.values()}, labels)


def prepared(line: Line, orders: Orders) -> dict[str, tuple[Ready, Orders]]:
    """The checked plan of each model's measurement; with `out`, each has a folder in it."""
    found = {}
    for name, document in line.documents.items():
        own = replace(orders, out=(orders.out or RUNS) / name)
        found[name] = (prepare("evaluate", document, own), own)
    return found


def contrast(line: Line, orders: Orders) -> Outcome:
    """Measures what is not measured yet, and compares every entrant with the first.

    Raises:
        ScoreError: nothing at all can be compared; says why.
    """
    measured = prepared(line, orders)  # all are checked before the first is measured
    entrants = dict(line.runs)
    for name, (ready, own) in measured.items():
        perform(ready, own)
        entrants[name] = Entrant(name, ready.run, BASE)
    return _compared([entrants[label] for label in line.order])


def _entrant(text: str) -> Entrant | None:
    """The checkpoint of a run that an argument names, None if it names no run."""
    folder, _, checkpoint = text.partition(":")
    path = Path(text if (Path(text) / PLAN).is_file() else folder)
    if not (path / PLAN).is_file():
        return None
    if str(path) == text.rstrip("/") or path == Path(text):
        checkpoint = ""
    run = RunDir(path)
    recipe = _recipe(run)
    known = {*checkpoint_names(recipe), *(result.checkpoint for _, result in _measured_in(run))}
    if checkpoint and checkpoint not in known:
        raise RecipeError(
            f"{path} has no checkpoint '{checkpoint}'", did_you_mean(checkpoint, known)
        )
    chosen = checkpoint or final_checkpoint(recipe)
    return Entrant(f"{path.resolve().name}:{chosen}", run, chosen)


def _told_apart(entrants: dict[str, Entrant]) -> dict[str, Entrant]:
    """The same; where runs in different folders are called alike, with the folders above them."""
    paths = {text: one.run.path.resolve() for text, one in entrants.items()}
    names = {path: _shortest_name(path, set(paths.values())) for path in paths.values()}
    return {
        text: one._replace(label=f"{names[paths[text]]}:{one.checkpoint}")
        for text, one in entrants.items()
    }


def _shortest_name(path: Path, among: set[Path]) -> Path:
    """As much of the end of a path as no other of them ends with."""
    for depth in range(1, len(path.parts)):
        end = path.parts[-depth:]
        if sum(other.parts[-depth:] == end for other in among) == 1:
            return Path(*end)
    return path


def _recipe(run: RunDir) -> Recipe:
    return read_recipe(run.path / RECIPE).recipe


def _model(text: str, flags: ModelFlags) -> Model:
    if is_recipe(text):
        raise RecipeError(
            f"{text} is a recipe: compare takes models and run folders",
            f"evalkit evaluate {text} makes a run; its folder can be compared",
        )
    return read_model(text, flags.revision)


def _names(models: dict[str, Model]) -> dict[str, str]:
    """A name for each model: its last part, and the one before it where those are alike."""
    short = {text: model.name for text, model in models.items()}
    counts = list(short.values())
    return {
        text: f"{models[text]._replace(path=str(Path(models[text].path).parent)).name}-{name}"
        if counts.count(name) > 1
        else name
        for text, name in short.items()
    }


def _measured_like(document: Document, run: RunDir) -> None:
    """Takes over how a run was measured (benchmarks, judge, engine, seed), where no flag says."""
    data, said = as_data(_recipe(run)), str(run.path / RECIPE)
    measuring: dict[KeyPath, Any] = {("engine",): data["engine"], ("seed",): data["seed"]}
    measuring |= {("evaluation", key): value for key, value in data["evaluation"].items()}
    for key, value in measuring.items():
        if not any(given[: len(key)] == key for given in document.origins):
            document.put(key, value, said)


def _compared(entrants: list[Entrant]) -> Outcome:
    first = entrants[0]
    recipe = _recipe(first.run)
    seed = recipe.seed
    found = [
        one
        for other in entrants[1:]
        for one in (
            *_pair(_results(first), _results(other), first.label, other.label, seed),
            *_fitted(_results(first), _results(other), recipe),
        )
    ]
    measured = [one for one in found if isinstance(one, Measured)]
    refused = [one for one in found if isinstance(one, Refused)]
    if not measured:
        reasons = "\n  ".join(f"{one.benchmark}: {one.reason}" for one in refused)
        raise ScoreError(
            f"nothing can be compared:\n  {reasons}" if refused else "nothing can be compared",
            "measure all of them with the same benchmarks and options (--benchmark)",
        )
    return Outcome(entrants, measured, refused, seed)


def _results(entrant: Entrant) -> dict[str, ResultSet]:
    """Every result of an entrant by benchmark, under its label.

    Raises:
        RecipeError: there is none.
    """
    found = {
        result.benchmark: replace(
            evaluation.read_result(folder, with_samples=True), checkpoint=entrant.label
        )
        for folder, result in _measured_in(entrant.run)
        if result.checkpoint == entrant.checkpoint
    }
    if not found:
        raise RecipeError(
            f"{entrant.run.path} holds no results of {entrant.checkpoint}",
            f"evalkit evaluate {entrant.run.path / RECIPE} --out {entrant.run.path}",
        )
    return found


def _measured_in(run: RunDir) -> list[tuple[Path, ResultSet]]:
    """Every finished evaluation of a run, without its samples."""
    folders = [run.folder(step) for step in run.finished()]
    return [
        (folder, evaluation.read_result(folder))
        for folder in folders
        if (folder / evaluation.RESULT).is_file()
    ]


def _pair(
    first: dict[str, ResultSet], second: dict[str, ResultSet], a: str, b: str, seed: int
) -> Iterator[Measured | Refused]:
    for benchmark in dict.fromkeys([*first, *second]):
        if benchmark not in first or benchmark not in second:
            only = a if benchmark in first else b
            yield Refused(a, b, benchmark, f"only {only} was measured with it")
            continue
        one, other = first[benchmark], second[benchmark]
        pairs = comparable(one, other)
        for task in _tasks_apart(one, other):
            yield Refused(a, b, benchmark, f"only one of {a} and {b} has items of {task}")
        for task, metric in pairs:
            try:
                found = compare(one, other, task, metric, seed)
            except ScoreError as error:
                yield Refused(a, b, benchmark, error.message)
                continue
            yield Measured(found, one.score(task, metric), other.score(task, metric))


def _fitted(
    first: dict[str, ResultSet], second: dict[str, ResultSet], recipe: Recipe
) -> Iterator[Measured | Refused]:
    """Scores that a benchmark fits to all items together, which it compares itself."""
    for ref in recipe.evaluation.benchmarks:
        if ref.key not in first or ref.key not in second:
            continue
        one, other = first[ref.key], second[ref.key]
        try:
            found = list(
                plugins.make("benchmarks", ref).fitted_differences(one, other, recipe.seed)
            )
        except ScoreError as error:
            yield Refused(one.checkpoint, other.checkpoint, ref.key, error.message)
            continue
        for comparison in found:
            pair = (comparison.task, comparison.metric)
            yield Measured(comparison, one.score(*pair), other.score(*pair))


def _tasks_apart(one: ResultSet, other: ResultSet) -> list[str]:
    """Tasks that only one of two results has items of."""
    tasks = [{sample.task for sample in result.samples} for result in (one, other)]
    return sorted(tasks[0] ^ tasks[1])


def describe(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON values."""
    from evalkit.records import to_json

    return {
        "models": [
            {"name": one.label, "run": str(one.run.path), "checkpoint": one.checkpoint}
            for one in outcome.entrants
        ],
        "comparisons": [
            {**to_json(one.comparison), "score_a": to_json(one.a), "score_b": to_json(one.b)}
            for one in outcome.measured
        ],
        "refused": [one._asdict() for one in outcome.refused],
    }
