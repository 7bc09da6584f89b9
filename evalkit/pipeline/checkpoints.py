"""Finds the checkpoints that steps have made, and keeps the last one loaded."""

from __future__ import annotations

from functools import lru_cache

from evalkit.loading import load_model
from evalkit.pipeline.layout import step_of
from evalkit.pipeline.step import StepContext
from evalkit.records import Checkpoint
from evalkit.roles import LoadedModel

FOLDER = "checkpoint"  # within the step that made it


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


def opened(checkpoint: Checkpoint) -> LoadedModel:
    """The loaded model and tokenizer; the last one is kept, as consecutive steps share it."""
    return _loaded(checkpoint.path, checkpoint.digest)


def release() -> None:
    """Drops the model kept by `opened`."""
    _loaded.cache_clear()
