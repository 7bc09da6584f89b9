"""Step `contamination`: training texts against evaluation items, and scores without the hits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.console import say
from evalkit.contamination.clean import clean_scores
from evalkit.contamination.overlap import Overlap, TrainingText, find_overlap
from evalkit.errors import Problem
from evalkit.loading import file_digest
from evalkit.pipeline import evaluation, plugins, training_texts
from evalkit.pipeline.layout import checkpoint_names, iterations
from evalkit.pipeline.responses import step_name as responses_step
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Contamination, Recipe
from evalkit.records import ResultSet, to_json
from evalkit.roles import EvaluationItem
from evalkit.rundir import RunDir

NAME = "contamination"
KEY = ("evaluation", "contamination")  # of the recipe
OVERLAP = "overlap.json"


def step(recipe: Recipe, section: Contamination) -> Step:
    """The step that looks for evaluation items in all that the family was trained on."""
    slots, measured = iterations(recipe), evaluation_steps(recipe)
    return Step(
        name=NAME,
        kind="contamination",
        title=f"look for evaluation items in training texts ({section.ngram} words in a row)",
        settings={
            "ngram": section.ngram,
            "sources": [plugins.settings("sources", ref) for ref in section.sources],
            "data": [plugins.data_digest(ref) for ref in section.sources],
        },
        needs=(*(responses_step(slot.name) for slot in slots), *measured),
        work=lambda context: _look(context, section),
        expensive=False,
    )


def evaluation_steps(recipe: Recipe) -> list[str]:
    """The steps whose results are told again without hits."""
    return [
        evaluation.step_name(name, ref)
        for name in checkpoint_names(recipe)
        for ref in recipe.evaluation.benchmarks
    ]


def check(recipe: Recipe) -> Iterator[Problem]:
    """Why a check would have nothing to look through; `where` is a key of the section."""
    section = recipe.evaluation.contamination
    if section is not None and not (recipe.stages or section.sources):
        yield Problem(
            "sources",
            "there is no stage, and so no training text to look through",
            "name what the model was trained on: sources: [{name: file, path: train.jsonl}]",
        )


def result_folder(run: RunDir, recipe: Recipe, step_name: str) -> Path:
    """Where the finished result of an evaluation step lies: told without hits where that is asked.

    step_name: of the evaluation step.
    """
    if recipe.evaluation.contamination is None or run.receipt(NAME) is None:
        return run.folder(step_name)
    return run.folder(NAME) / step_name


def _look(context: StepContext, section: Contamination) -> Mapping[str, Any]:
    items = list(_items(context.recipe))
    overlap = find_overlap(items, _texts(context, section), section.ngram, context.progress)
    _write_json(context.folder / OVERLAP, to_json(overlap))
    for step_name in evaluation_steps(context.recipe):
        result = evaluation.read_result(context.run.folder(step_name), with_samples=True)
        folder = context.empty_folder(step_name)
        evaluation.write_scores(folder, _told(result, overlap))
    for line in in_words(overlap):
        say(line)
    return {
        "digest": file_digest(context.folder / OVERLAP),
        "items": len(items),
        "hits": len(overlap.hits),
        "documents": overlap.documents,
        "words": overlap.words,
    }


def in_words(overlap: Overlap) -> list[str]:
    """A line for each task with hits; one that says so where there are none."""
    lines = [
        f"  {one.task}: {one.hits:,} of {one.items:,} items share {overlap.ngram} words in a row"
        f" with training texts{f', {one.short:,} of them short wholes' if one.short else ''}"
        for one in overlap.tasks
        if one.hits
    ]
    items = sum(one.items for one in overlap.tasks)
    nothing = f"  none of {items:,} items is met in {overlap.documents:,} training texts"
    return lines or [nothing]


def _items(recipe: Recipe) -> Iterator[EvaluationItem]:
    for ref in recipe.evaluation.benchmarks:
        items = plugins.make("benchmarks", ref).items(evaluation.open_source)
        if items is None:
            say(f"note: {ref.name} cannot say what its items are: they are not looked for")
        yield from items or ()


def _texts(context: StepContext, section: Contamination) -> Iterator[TrainingText]:
    for slot in iterations(context.recipe):
        folder = context.run.folder(responses_step(slot.name))
        yield from training_texts.of_groups(folder, f"{slot.name}/")
    for ref in section.sources:
        yield from training_texts.of_source(evaluation.open_source(ref), f"{ref.key}/")


def _told(result: ResultSet, overlap: Overlap) -> ResultSet:
    """A result with its clean scores, and what was found of its tasks."""
    mine = {sample.task for sample in result.samples}
    tasks = [one for one in overlap.tasks if one.task in mine]
    hits: dict[str, set[str]] = {one.task: set() for one in tasks}
    for hit in overlap.hits:
        if hit.task in hits:
            hits[hit.task].add(hit.id)
    found = {
        "ngram": overlap.ngram,
        "training_texts": overlap.documents,
        "training_words": overlap.words,
        "tasks": {one.task: _counts(one) for one in tasks},
    }
    return replace(
        result,
        provenance={**result.provenance, "contamination": found},
        clean_scores=clean_scores(result, hits) if tasks else (),
        samples=(),
    )


def _counts(task: Any) -> dict[str, int]:
    return {key: value for key, value in to_json(task).items() if key != "task"}


def _write_json(file: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")
