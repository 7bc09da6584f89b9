"""Steps `eval-CHECKPOINT-BENCHMARK`: one checkpoint measured by one benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.journal import Journal
from evalkit.loading import file_digest
from evalkit.pipeline import checkpoints, plugins
from evalkit.pipeline.layout import step_of
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe
from evalkit.records import ResultSet, Sample, dumps, to_json
from evalkit.roles import BenchmarkContext, Judge, PluginRef, Source
from evalkit.rundir import read_made, read_made_list

RESULT = "result.json"
SAMPLES = "samples.jsonl"
RAW = "raw"
JOURNAL = "journal.jsonl"


def step_name(checkpoint: str, benchmark: PluginRef) -> str:
    """Name of the step that measures a checkpoint."""
    return f"eval-{checkpoint}-{benchmark.key}"


def step(recipe: Recipe, checkpoint: str, ref: PluginRef) -> Step:
    """The step that measures one checkpoint with one benchmark."""
    benchmark = plugins.make("benchmarks", ref)
    judge = recipe.evaluation.judge if "judge" in benchmark.needs else None
    return Step(
        name=step_name(checkpoint, ref),
        kind="evaluate",
        title=f"measure {checkpoint} with {benchmark.label}",
        settings={
            "benchmark": plugins.settings("benchmarks", ref),
            "data": [plugins.data_digest(ref) for ref in benchmark.sources()],
            "files": dict(benchmark.data_digests()),
            "judge": plugins.settings("judges", judge) if judge else None,
            "engine": plugins.settings("engines", recipe.engine),
            "seed": recipe.seed,
        },
        needs=(step_of(recipe, checkpoint),),
        work=lambda context: _measure(context, checkpoint, ref),
    )


def _measure(context: StepContext, name: str, ref: PluginRef) -> Mapping[str, Any]:
    raw = context.folder / RAW
    raw.mkdir(exist_ok=True)
    with ExitStack() as judges:
        benchmark_context = _benchmark_context(context, name, raw, judges)
        result = plugins.make("benchmarks", ref).run(benchmark_context)
    write_result(context.folder, result)
    return {
        "digest": file_digest(context.folder / RESULT),
        "samples_digest": file_digest(context.folder / SAMPLES),
    }


def _benchmark_context(
    context: StepContext, name: str, raw: Path, judges: ExitStack
) -> BenchmarkContext:
    checkpoint = checkpoints.checkpoint_of(context, name)
    recipe, journal = context.recipe, Journal(context.scratch / JOURNAL)

    def open_judge() -> Judge:
        assert recipe.evaluation.judge is not None  # preflight has seen to it
        judge = plugins.make("judges", recipe.evaluation.judge)
        judges.callback(judge.close)
        return checkpoints.open_judge(judge, journal)

    return BenchmarkContext(
        checkpoint=checkpoint,
        tokenizer=checkpoints.tokenizer(checkpoint),
        folder=raw,
        seed=recipe.seed,
        progress=context.progress,
        open_engine=lambda: checkpoints.open_engine(recipe.engine, checkpoint, journal),
        open_scorer=lambda: checkpoints.open_scorer(checkpoint, journal),
        open_judge=open_judge,
        open_source=open_source,
    )


def open_source(ref: PluginRef) -> Source:
    """The source that a benchmark's options refer to."""
    source: Source = plugins.make("sources", ref)
    return source


def write_result(folder: Path, result: ResultSet) -> None:
    """Writes `result.json` (without samples) and `samples.jsonl`."""
    value = to_json(result)
    samples = value.pop("samples")
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / RESULT).write_text(text + "\n", encoding="utf-8")
    lines = "".join(dumps(sample) + "\n" for sample in samples)
    (folder / SAMPLES).write_text(lines, encoding="utf-8")


def read_result(folder: Path, with_samples: bool = False) -> ResultSet:
    """The result set of a finished evaluation step, its samples only if asked for."""
    result = read_made(ResultSet, folder / RESULT)
    samples = read_made_list(Sample, folder / SAMPLES) if with_samples else []
    return replace(result, samples=tuple(samples))
