"""Finds the checkpoints that steps have made, and opens them: loaded, served or scored.

The last one stays open for the steps that follow, and lets go of memory when others need it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from evalkit.journal import Journal
from evalkit.journaled_models import JournaledEngine, JournaledScorer
from evalkit.loading import load_model, load_tokenizer
from evalkit.pipeline import judge_serving, plugins
from evalkit.pipeline.journaled import JournaledJudge
from evalkit.pipeline.layout import step_of
from evalkit.pipeline.sharing import Accelerator
from evalkit.pipeline.step import StepContext
from evalkit.records import Checkpoint, dumps
from evalkit.roles import Engine, Judge, LoadedModel, PluginRef, Scorer

FOLDER = "checkpoint"  # within the step that made it
METRICS = "metrics.jsonl"  # of training, beside its checkpoint
_engines: dict[str, Engine] = {}  # the one that is open, by its reference
_accelerator = Accelerator()


def checkpoint_of(context: StepContext, name: str) -> Checkpoint:
    """A finished checkpoint of this run."""
    step = step_of(context.recipe, name)
    result = context.result(step)
    return Checkpoint(
        name=name,
        path=result.get("path") or str(context.run.folder(step) / FOLDER),
        digest=result["digest"],
        precision=result["precision"],
        revision=result.get("revision"),
        parent=result.get("parent"),
    )


@lru_cache(maxsize=1)
def _loaded(path: str, digest: str) -> LoadedModel:
    return load_model(path)


@lru_cache(maxsize=2)
def _tokenizer(path: str, digest: str) -> Any:
    return load_tokenizer(path)


def opened(checkpoint: Checkpoint) -> LoadedModel:
    """The loaded model and tokenizer; the last one is kept, as consecutive steps share it."""
    return _loaded(checkpoint.path, checkpoint.digest)


def tokenizer(checkpoint: Checkpoint) -> Any:
    """Its tokenizer alone."""
    return _tokenizer(checkpoint.path, checkpoint.digest)


def open_engine(ref: PluginRef, checkpoint: Checkpoint, journal: Journal) -> JournaledEngine:
    """The engine of a recipe with a checkpoint; it is kept open, as consecutive steps share it."""
    key = dumps(ref.model_dump())
    if key not in _engines:
        close_engine()
        _engines[key] = plugins.make("engines", ref)
    engine = _engines[key].serve(checkpoint, lambda: opened(checkpoint))
    take = _take_engine if engine.own_memory else _take_model
    return JournaledEngine(engine, journal, take)


def open_scorer(checkpoint: Checkpoint, journal: Journal) -> JournaledScorer:
    """A scorer of a checkpoint."""

    def opened_scorer() -> Scorer:
        from evalkit.scoring import CheckpointScorer

        _take_model()
        return CheckpointScorer(opened(checkpoint))

    return JournaledScorer(opened_scorer, journal)


def open_judge(judge: Judge, journal: Journal, accounts: Path) -> JournaledJudge:
    """A judge with its server if it needs one, before whom others let go of the GPU if need be.

    accounts: where what it costs is written down.
    """
    judge.keep_accounts(accounts)
    served = judge_serving.served(judge)

    def take() -> None:
        if served.own_memory:
            _accelerator.take("judge", served.close)

    return JournaledJudge(served, journal, take)


def release() -> None:
    """Frees what models and judges hold here: a step that trains or quantizes needs it all."""
    _accelerator.free()
    _rest()


def close_engine() -> None:
    """Ends what the engine of `open_engine` runs; to be called when a run is over."""
    while _engines:
        _engines.popitem()[1].close()


def _take_model() -> None:
    """For who computes with what `opened` gives."""
    _accelerator.take("model", _rest)


def _take_engine() -> None:
    """For an engine with weights of its own."""
    _accelerator.take("engine", _rest)


def _rest() -> None:
    _loaded.cache_clear()
    for engine in _engines.values():
        engine.rest()
