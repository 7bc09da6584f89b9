"""Steps `eval-CHECKPOINT-BENCHMARK`: one checkpoint measured by one benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.fingerprint import fingerprint
from evalkit.journal import Journal
from evalkit.loading import file_digest
from evalkit.pipeline import checkpoints, kinship, plugins
from evalkit.pipeline.judge_audit import WitnessedJudge, audit
from evalkit.pipeline.judge_record import write_judge
from evalkit.pipeline.layout import step_of
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Audit, Recipe, as_data
from evalkit.records import Checkpoint, ResultSet, Sample, dumps, to_json
from evalkit.roles import BenchmarkContext, Judge, PluginRef, Source
from evalkit.rundir import SPENDING, read_made, read_made_list

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
            **_audit_settings(recipe, judge),
        },
        needs=(step_of(recipe, checkpoint),),
        work=lambda context: _measure(context, checkpoint, ref),
        judge=judge,
    )


def _audit_settings(recipe: Recipe, judge: PluginRef | None) -> dict[str, Any]:
    audit = recipe.evaluation.audit
    if judge is None or audit is None:
        return {}
    second = plugins.settings("judges", audit.second) if audit.second else None
    return {"audit": {**as_data(audit), "second": second}}


def _measure(context: StepContext, name: str, ref: PluginRef) -> Mapping[str, Any]:
    raw = context.folder / RAW
    raw.mkdir(exist_ok=True)
    with ExitStack() as opened:
        bench = _Bench(context, checkpoints.checkpoint_of(context, name), opened)
        result = plugins.make("benchmarks", ref).run(bench.context(raw))
        result = bench.signed(result, raw)
    write_result(context.folder, result)
    return {
        "digest": file_digest(context.folder / RESULT),
        "samples_digest": file_digest(context.folder / SAMPLES),
    }


class _Bench:
    """What a benchmark is given for one checkpoint, and what its judge is audited with.

    opened: closes the judges when the step is over.
    """

    def __init__(self, context: StepContext, checkpoint: Checkpoint, opened: ExitStack) -> None:
        self._context, self._checkpoint, self._opened = context, checkpoint, opened
        self._journal = Journal(context.scratch / JOURNAL)
        self._witness: WitnessedJudge | None = None

    def context(self, raw: Path) -> BenchmarkContext:
        """What the benchmark is given."""
        recipe, checkpoint, journal = self._context.recipe, self._checkpoint, self._journal
        return BenchmarkContext(
            checkpoint=checkpoint,
            tokenizer=checkpoints.tokenizer(checkpoint),
            folder=raw,
            seed=recipe.seed,
            progress=self._context.progress,
            open_engine=lambda: checkpoints.open_engine(recipe.engine, checkpoint, journal),
            open_scorer=lambda: checkpoints.open_scorer(checkpoint, journal),
            open_judge=self._open_judge,
            open_source=open_source,
        )

    def signed(self, result: ResultSet, raw: Path) -> ResultSet:
        """With the audit of its judge, whose digest is in every sample and beside raw files."""
        if self._witness is None or not self._witness.judgements:
            return result
        identity = self._witness.identity()
        digest = fingerprint(identity)
        told = {"judge_digest": digest, "judge_audit": self._audit(self._witness)}
        write_judge(raw, identity)
        samples = tuple(
            replace(one, detail={**one.detail, "judge_digest": digest}) for one in result.samples
        )
        return replace(result, provenance={**result.provenance, **told}, samples=samples)

    def _open_judge(self) -> Judge:
        assert self._context.recipe.evaluation.judge is not None  # preflight has seen to it
        self._witness = WitnessedJudge(self._opened_judge(self._context.recipe.evaluation.judge))
        return self._witness

    def _opened_judge(self, ref: PluginRef) -> Judge:
        accounts = self._context.run.path / SPENDING
        judge = checkpoints.open_judge(plugins.make("judges", ref), self._journal, accounts)
        self._opened.callback(judge.close)
        return judge

    def _audit(self, witness: WitnessedJudge) -> dict[str, Any]:
        recipe, progress = self._context.recipe, self._context.progress
        settings = recipe.evaluation.audit or Audit(items=0, swapped=False)
        second = None if settings.second is None else self._opened_judge(settings.second)
        found = audit(witness.judgements, witness.judge, second, settings, recipe.seed, progress)
        judged = kinship.of_folder(Path(self._checkpoint.path))
        base = kinship.of_base(recipe)
        judge = kinship.of_judge(witness.judge)
        reason = kinship.kin(judge, judged) or kinship.kin(judge, base)
        return {**found, "self_preference": reason} if reason else found


def open_source(ref: PluginRef) -> Source:
    """The source that a benchmark's options refer to."""
    source: Source = plugins.make("sources", ref)
    return source


def write_result(folder: Path, result: ResultSet) -> None:
    """Writes `result.json` (without samples) and `samples.jsonl`."""
    write_scores(folder, result)
    lines = "".join(dumps(sample) + "\n" for sample in result.samples)
    (folder / SAMPLES).write_text(lines, encoding="utf-8")


def write_scores(folder: Path, result: ResultSet) -> None:
    """Writes `result.json` alone, without samples."""
    value = to_json(replace(result, samples=()))
    del value["samples"]
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / RESULT).write_text(text + "\n", encoding="utf-8")


def read_result(folder: Path, with_samples: bool = False) -> ResultSet:
    """The result set of a finished evaluation step, its samples only if asked for."""
    result = read_made(ResultSet, folder / RESULT)
    samples = read_made_list(Sample, folder / SAMPLES) if with_samples else []
    return replace(result, samples=tuple(samples))
