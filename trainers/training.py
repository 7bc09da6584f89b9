"""Trains one checkpoint into the next: the work of a training step, resumable at any instant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalkit.console import no_foreign_bars, say
from evalkit.errors import RecipeError
from evalkit.loading import config_of, stored_dtype
from evalkit.records import TrainingExample
from evalkit.roles import Method, Progress
from evalkit.trainers.batches import fit_to_length
from evalkit.trainers.reference import reference_logps, training_model
from evalkit.trainers.trainer import MethodTrainer, latest_checkpoint
from evalkit.training_settings import TrainingSettings

METRICS = "metrics.jsonl"
_UNCHANGED = (
    "warning: {steps} steps of training changed no stored weight (kept as {dtype}): the warm-up"
    " begins at learning rate 0, and small updates are lost in rounding; train for more steps,"
    " or raise training.learning_rate"
)


@dataclass(frozen=True)
class TrainingSummary:
    """What came of a training step; equal for equal runs.

    examples: prompts (or pairs) trained on; responses: their continuations.
    truncated: responses cut at max_length; too_long: prompts dropped as they fill it alone.
    metrics: the last line of `metrics.jsonl`.
    """

    steps: int
    epochs: float
    examples: int
    responses: int
    truncated: int
    too_long: int
    metrics: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def train(
    method: Method,
    examples: Sequence[TrainingExample],
    start: str | Path,
    settings: TrainingSettings,
    folder: Path,
    seed: int,
    progress: Progress,
    work: Path,
) -> TrainingSummary:
    """Trains from the checkpoint in folder `start`, which is also the reference, into `folder`.

    folder: an existing folder; receives model, tokenizer and `metrics.jsonl`.
    work: scratch of resumable checkpoints. Called again with the same arguments after a kill,
        training goes on from the last of them, with the same result bit for bit on a CPU with as
        many threads. The caller removes it once the result is safe.

    Raises:
        RecipeError: nothing to train on.
        ScoreError: the loss is not finite, or does not start from the reference.
    """
    work.mkdir(parents=True, exist_ok=True)
    fitted = fit_to_length(examples, settings.max_length)
    if not fitted.examples:
        raise RecipeError(
            f"nothing to train on: of {len(examples)} examples {fitted.too_long} have prompts of"
            f" {settings.max_length} tokens or more",
            "raise training.max_length, or give more prompts",
        )
    ready = fitted.examples
    if method.needs().reference:
        ready = reference_logps(ready, start, settings, seed, progress, work / "reference.json")
    trainer = MethodTrainer(
        training_model(start, settings), method, ready, settings, work, seed, progress
    )
    checkpoint = latest_checkpoint(work)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    metrics = trainer.metrics()
    if trainer.is_world_process_zero():
        _write(trainer.model.model, start, folder, metrics)
        if same_weights(start, folder):
            say(
                _UNCHANGED.format(
                    steps=trainer.state.global_step, dtype=stored_dtype(config_of(start))
                )
            )
    return TrainingSummary(
        steps=trainer.state.global_step,
        epochs=settings.epochs,
        examples=len(ready),
        responses=sum(len(example.continuations) for example in ready),
        truncated=fitted.truncated,
        too_long=fitted.too_long,
        metrics=metrics[-1],
    )


def _write(model: Any, start: str | Path, folder: Path, metrics: list[dict[str, float]]) -> None:
    """Writes the trained model in the precision that its start was stored in."""
    import torch
    from transformers import AutoTokenizer

    with no_foreign_bars():
        model.to(getattr(torch, stored_dtype(config_of(start)))).save_pretrained(folder)
    AutoTokenizer.from_pretrained(start).save_pretrained(folder)
    lines = [json.dumps(entry, sort_keys=True) for entry in metrics]
    (folder / METRICS).write_text("".join(line + "\n" for line in lines), "utf-8")


def same_weights(one: str | Path, other: str | Path) -> bool:
    """Whether two checkpoint folders store equal tensors; False where their names do not meet.

    Tensors are compared until two differ, which between a trained model and its start are
    nearly always the first.
    """
    from safetensors import safe_open

    def stored(folder: str | Path) -> dict[str, Path]:
        names: dict[str, Path] = {}
        for file in sorted(Path(folder).glob("*.safetensors")):
            with safe_open(file, "pt") as tensors:
                names |= dict.fromkeys(tensors.keys(), file)
        return names

    def tensor(file: Path, name: str) -> Any:
        with safe_open(file, "pt") as tensors:
            return tensors.get_tensor(name)

    first, second = stored(one), stored(other)
    common = sorted(first.keys() & second.keys())
    return bool(common) and all(
        tensor(first[name], name).equal(tensor(second[name], name)) for name in common
    )
