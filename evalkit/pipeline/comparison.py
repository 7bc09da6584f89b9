"""Step `compare`: paired differences of every checkpoint to its parent and to the base."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from evalkit.console import say
from evalkit.errors import ScoreError
from evalkit.loading import file_digest
from evalkit.pipeline import evaluation, plugins
from evalkit.pipeline.layout import (
    BASE,
    checkpoint_names,
    final_checkpoint,
    iterations,
)
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe
from evalkit.records import Comparison, ResultSet, to_json
from evalkit.roles import PluginRef
from evalkit.rundir import read_made_list
from evalkit.stats import comparable, compare

NAME = "compare"
COMPARISONS = "comparisons.json"


def step(recipe: Recipe) -> Step:
    """The step that compares all measured checkpoints."""
    measured = product(checkpoint_names(recipe), recipe.evaluation.benchmarks)
    return Step(
        name=NAME,
        kind="compare",
        title="compare checkpoints on the same items",
        settings={"pairs": _pairs(recipe), "seed": recipe.seed},
        needs=tuple(evaluation.step_name(name, ref) for name, ref in measured),
        work=_compare,
        expensive=False,
    )


def _pairs(recipe: Recipe) -> list[tuple[str, str]]:
    """(older, newer): each iteration with its parent and the base, each variant with its parent."""
    pairs = []
    for slot in iterations(recipe):
        pairs += [(older, slot.name) for older in dict.fromkeys((slot.parent, BASE))]
    last = final_checkpoint(recipe)
    trained = {slot.name for slot in iterations(recipe)}
    variants = [name for name in checkpoint_names(recipe) if name not in {BASE, *trained}]
    return pairs + [(last, name) for name in variants]


def _compare(context: StepContext) -> Mapping[str, Any]:
    recipe = context.recipe
    found: list[Comparison] = []
    pairs = _pairs(recipe)
    for done, (older, newer) in enumerate(pairs):
        context.progress(done, len(pairs))
        for ref in recipe.evaluation.benchmarks:
            a, b = (
                evaluation.read_result(
                    context.run.folder(evaluation.step_name(name, ref)), with_samples=True
                )
                for name in (older, newer)
            )
            found += _of_results(a, b, recipe.seed)
            found += _fitted(ref, a, b, recipe.seed)
    file = context.folder / COMPARISONS
    file.write_text(json.dumps(to_json(found), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {"digest": file_digest(file)}


def _of_results(a: ResultSet, b: ResultSet, seed: int) -> Iterator[Comparison]:
    """One comparison per task that has samples, of its headline metric."""
    for task, metric in comparable(a, b):
        yield compare(a, b, task, metric, seed)


def _fitted(ref: PluginRef, a: ResultSet, b: ResultSet, seed: int) -> list[Comparison]:
    """Those of the benchmark's fitted scores, where it can tell them; the others stand alone."""
    try:
        return list(plugins.make("benchmarks", ref).fitted_differences(a, b, seed))
    except ScoreError as error:
        say(f"not compared: fitted scores of {b.checkpoint} and {a.checkpoint}: {error.message}")
        return []


def read_comparisons(folder: Path) -> list[Comparison]:
    """The comparisons of a finished `compare` step."""
    return read_made_list(Comparison, folder / COMPARISONS)
