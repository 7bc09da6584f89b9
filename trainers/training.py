"""Trains one checkpoint into the next: the work of a training step, resumable at any instant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalkit.console import no_foreign_bars, warn
from evalkit.errors import RecipeError
from evalkit.loading import config_of, stored_dtype
from evalkit.records import TrainingExample
from evalkit.rendering import has_template, plain_template
from evalkit.roles import Method, Progress
from evalkit.trainers import bad_batch
from evalkit.trainers.adapters import Merged, merged, save_adapter, trainable_parameters
from evalkit.trainers.batches import fit_to_length
from evalkit.trainers.before import ADAPTER, NOTHING, OPTIMIZER, Before
from evalkit.trainers.distribution import take_own_gpu, whole_model, whole_state
from evalkit.trainers.optimizer_state import GoOnWithOptimizer, save_state
from evalkit.trainers.precision import warn_of_short_warm_up
from evalkit.trainers.reference import reference_logps, training_model
from evalkit.trainers.reporting import NO_REPORTS, Reports
from evalkit.trainers.trainer import MethodTrainer
from evalkit.trainers.watching import alarms, over_last_epoch
from evalkit.training_settings import TrainingSettings

METRICS = "metrics.jsonl"
_UNCHANGED = (
    "{steps} steps of training changed no stored weight (kept as {dtype}): the warm-up"
    " begins at learning rate 0, and small updates are lost in rounding; train for more steps,"
    " or raise training.learning_rate"
)


@dataclass(frozen=True)
class TrainingSummary:
    """What came of a training step; equal for equal runs.

    examples: prompts (or pairs) trained on; responses: their continuations.
    truncated: responses cut at max_length; too_long: prompts dropped as they fill it alone.
    trainable_parameters: how many numbers were trained.
    base_error: how far 4-bit weights that an adapter was trained around were from those it was
        merged into, relative to their norm; None of other precisions.
    metrics: the last line of `metrics.jsonl`.
    last_epoch: means over the lines of the last pass over the data, of what tells how it went.
    """

    steps: int
    epochs: float
    examples: int
    responses: int
    truncated: int
    too_long: int
    trainable_parameters: int
    base_error: float | None
    metrics: dict[str, float]
    last_epoch: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without what there is none of."""
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}


def train(
    method: Method,
    examples: Sequence[TrainingExample],
    start: str | Path,
    settings: TrainingSettings,
    folder: Path,
    seed: int,
    progress: Progress,
    work: Path,
    before: Before = NOTHING,
    reports: Reports = NO_REPORTS,
    cache: Path | None = None,
) -> TrainingSummary:
    """Trains from the checkpoint in folder `start`, which is also the reference, into `folder`.

    folder: an existing folder; receives model, tokenizer and `metrics.jsonl`, and as settings ask
        for it the sub-folder `adapter` and the file `optimizer.pt`.
    work: scratch of resumable checkpoints. Called again with the same arguments after a kill,
        training goes on from the last of them, with the same result bit for bit on a CPU with as
        many threads. The caller removes it once the result is safe.
    before: what of earlier iterations is gone on with.
    reports: trackers that are shown the metrics as they come; they change nothing.
    cache: folder that outlives attempts with other settings: receives the reference pass, and the
        batch at which training had to stop; default `work`.

    Raises:
        RecipeError: nothing to train on.
        ScoreError: the loss is not finite, or does not start from the reference.
    """
    take_own_gpu()
    work.mkdir(parents=True, exist_ok=True)
    cache = cache or work
    fitted = fit_to_length(examples, settings.max_length)
    if not fitted.examples:
        raise RecipeError(
            f"nothing to train on: of {len(examples)} examples {fitted.too_long} have prompts of"
            f" {settings.max_length} tokens or more",
            "raise training.max_length, or give more prompts",
        )
    ready = fitted.examples
    if method.needs().reference:
        ready = reference_logps(ready, start, settings, seed, progress, cache, before.adapter)
    model = training_model(start, settings, seed, before.adapter, ready)
    n_trainable = trainable_parameters(model)
    trainer = MethodTrainer(
        model, method, ready, settings, work, seed, progress, failures=cache, reports=reports
    )
    if before.optimizer is None:
        warn_of_short_warm_up(settings, len(ready))
    else:
        goes_on = GoOnWithOptimizer(before.optimizer, settings.optimizer, trainer.accelerator)
        trainer.add_callback(goes_on)
    checkpoint = trainer.latest_checkpoint()
    with reports.open():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    metrics = trainer.metrics()
    over_epoch = over_last_epoch(metrics, -(-len(ready) // settings.batch_size))
    if settings.optimizer_state == "kept":
        _keep_optimizer(trainer, folder / OPTIMIZER, settings)
    trained, base_error = _trained_model(trainer, start, settings, folder, before)
    if trained is not None:
        _write(trained, start, folder, metrics)
        if same_weights(start, folder):
            warn(
                _UNCHANGED.format(
                    steps=trainer.state.global_step, dtype=stored_dtype(config_of(start))
                )
            )
    for alarm in alarms(over_epoch) if trained is not None else ():
        warn(alarm)
    _forget_failures(cache)
    return TrainingSummary(
        steps=trainer.state.global_step,
        epochs=settings.epochs,
        examples=len(ready),
        responses=sum(len(example.continuations) for example in ready),
        truncated=fitted.truncated,
        too_long=fitted.too_long,
        trainable_parameters=n_trainable,
        base_error=base_error,
        metrics=metrics[-1],
        last_epoch=over_epoch,
    )


def _forget_failures(folder: Path) -> None:
    for file in folder.glob(f"*{bad_batch.FILE}"):
        file.unlink(missing_ok=True)  # another process may be quicker


def _keep_optimizer(trainer: MethodTrainer, file: Path, settings: TrainingSettings) -> None:
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    first = trainer.is_world_process_zero()
    save_state(trainer.optimizer, model, file, settings.optimizer, write=first)


def _trained_model(
    trainer: MethodTrainer,
    start: str | Path,
    settings: TrainingSettings,
    folder: Path,
    before: Before,
) -> Merged:
    """The trained model, None on ranks but the first; an adapter is kept, and merged into it."""
    parts = (trainer.accelerator, trainer.model_wrapped, trainer.model.model)
    if settings.adapter is None:
        return Merged(whole_model(*parts), None)
    state = whole_state(*parts)
    if state is None:
        return Merged(None, None)
    save_adapter(trainer.model.model, state, folder / ADAPTER, before.start_name)
    return merged(trainer.model.model, start, folder / ADAPTER)


def _write(model: Any, start: str | Path, folder: Path, metrics: list[dict[str, float]]) -> None:
    """Writes the trained model in the precision that its start was stored in."""
    import torch
    from transformers import AutoTokenizer

    with no_foreign_bars():
        model.to(getattr(torch, stored_dtype(config_of(start)))).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(start)
    if not has_template(tokenizer):  # whoever uses the model must render as it was trained
        tokenizer.chat_template = plain_template(tokenizer)
    tokenizer.save_pretrained(folder)
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
