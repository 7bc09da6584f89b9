"""The one trainer of all methods: transformers' Trainer around the scoring core.

Checkpointing, schedules, clipping, mixed precision and distribution are transformers' and
accelerate's; here are the loss, exact accumulation, and checkpoints that a kill cannot spoil.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from evalkit.errors import RecipeError, ScoreError
from evalkit.records import TrainingExample
from evalkit.roles import Method, Progress
from evalkit.scoring import ScoringModel, default_token_budget
from evalkit.trainers.batches import EpochSampler, Piece, micro_batch_size_of, n_processes, pack
from evalkit.trainers.reference import check_starts_at_reference
from evalkit.training_settings import TrainingSettings

_WEIGHTS = "weights.pt"
_PARTIAL = "partial"


# As transformers calls them; its plain `constant` would ignore the warm-up.
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


class MethodTrainer(Trainer):
    """Minimises a method's loss of log-probabilities; every micro-batch is a list of Pieces.

    folder: receives `checkpoint-N` sub-folders, each complete or absent.
    """

    def __init__(
        self,
        model: ScoringModel,
        method: Method,
        examples: Sequence[TrainingExample],
        settings: TrainingSettings,
        folder: Path,
        seed: int,
        progress: Progress,
    ) -> None:
        self._method, self._settings, self._seed = method, settings, seed
        self._staging: Path | None = None
        self._metric_sums: dict[str, float] = defaultdict(float)
        self._metric_weight = 0.0
        device_type = model.model.device.type
        budget = settings.token_budget or default_token_budget(device_type)
        super().__init__(
            model=model,
            args=training_arguments(settings, folder, seed, model),
            data_collator=lambda members: pack(members, budget, model.shared),
            train_dataset=list(examples),
            callbacks=[_ReportProgress(progress)],
        )
        self.remove_callback(PrinterCallback)

    # --- data and schedule ---

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return EpochSampler(len(self.train_dataset), self._seed)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Lays the schedule out for `schedule_epochs`, however early training stops."""
        settings = self._settings
        stretch = settings.schedule_epochs / settings.epochs
        return super().create_scheduler(round(num_training_steps * stretch), optimizer)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """The micro-batches of one optimizer step, and what they weigh on all ranks together."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        own = sum(self._weight(piece) for pieces in samples for piece in pieces)
        total = torch.tensor(own, dtype=torch.float64, device=device)
        return samples, self.accelerator.reduce(total, "sum")

    def _weight(self, piece: Piece) -> float:
        return piece.weight(self._method.weighting)

    # --- loss ---

    def training_step(
        self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None
    ) -> Tensor:
        """Forward and backward over the pieces of one micro-batch; its share of the batch loss."""
        model.train()
        total = torch.zeros((), device=self.args.device)
        for number, piece in enumerate(inputs, 1):
            # Ranks average their gradients, so each piece counts as if it were on every rank.
            share = self._weight(piece) / float(num_items_in_batch) * self.accelerator.num_processes
            last = number == len(inputs)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(model, piece) * share
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The method's mean loss over one piece.

        Raises:
            ScoreError: it is not a finite number.
        """
        policy_N = model(inputs.packed).logp_N
        if self.state.global_step == 0:
            check_starts_at_reference(inputs, policy_N, self._settings.precision)
        loss, metrics = self._method.loss(inputs.logp_batch(policy_N))
        if not bool(torch.isfinite(loss)):
            self._keep_bad_batch(inputs, policy_N)
        self._note(metrics, self._weight(inputs))
        return (loss, policy_N) if return_outputs else loss

    def _keep_bad_batch(self, piece: Piece, policy_N: Tensor) -> None:
        step = self.state.global_step + 1
        file = Path(self.args.output_dir) / "bad_batch.json"
        facts = {
            "step": step,
            "prompt_ids": piece.prompt_ids,
            "policy_logps": [repr(value) for value in policy_N.tolist()],
        }
        file.write_text(json.dumps(facts, indent=1), "utf-8")
        raise ScoreError(
            f"the loss of step {step} is not a finite number (prompts in {file.name}:"
            f" {', '.join(piece.prompt_ids[:3])}...)",
            "lower learning_rate, or lengthen the warm-up (warmup_ratio)",
        )

    # --- metrics ---

    def _note(self, metrics: dict[str, Tensor], weight: float) -> None:
        for name, value in metrics.items():
            self._metric_sums[name] += float(value) * weight
        self._metric_weight += weight

    def _drain(self) -> dict[str, float]:
        names = sorted(self._metric_sums)
        sums = [*(self._metric_sums[name] for name in names), self._metric_weight]
        *totals, weight = self.accelerator.reduce(
            torch.tensor(sums, dtype=torch.float64, device=self.args.device), "sum"
        ).tolist()
        self._metric_sums.clear()
        self._metric_weight = 0.0
        return {name: total / weight for name, total in zip(names, totals, strict=True)}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Keeps the metrics of optimizer steps; what depends on the clock is left out."""
        if "loss" in logs:
            super().log({**logs, **self._drain()})

    def metrics(self) -> list[dict[str, float]]:
        """One record per logged step, those before a resumed checkpoint included."""
        # transformers' `epoch` counts micro-batches, which are not of equal size.
        return [
            {key: entry[key] for key in sorted(entry) if key != "epoch"}
            for entry in self.state.log_history
        ]

    # --- checkpoints ---

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or self.args.output_dir)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Writes a checkpoint aside and renames it, so that resuming never meets half of one."""
        final = Path(self.args.output_dir)
        name = f"checkpoint-{self.state.global_step}"
        self._staging = final / _PARTIAL
        if self.is_world_process_zero():
            shutil.rmtree(self._staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            super()._save_checkpoint(model, trial)
        finally:
            staging, self._staging = self._staging, None
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            os.replace(staging / name, final / name)
            _remove_older(final, keep=name)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict() if state_dict is None else state_dict, folder / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        weights = torch.load(
            Path(resume_from_checkpoint) / _WEIGHTS, map_location="cpu", weights_only=True
        )
        (self.model if model is None else model).load_state_dict(weights)


class _ReportProgress(TrainerCallback):
    """Tells our own display how many optimizer steps are done, and has the last one logged."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after every optimizer step."""
        if state.global_step >= state.max_steps:
            control.should_log = True  # on every rank, as logging gathers from all
        if state.is_world_process_zero:
            self._progress(state.global_step, state.max_steps, "training")


def training_arguments(
    settings: TrainingSettings, folder: Path, seed: int, model: ScoringModel
) -> TrainingArguments:
    """What transformers' Trainer is told; reports go nowhere and there is no progress bar."""
    on_cpu = model.model.device.type == "cpu"
    micro_batch_size = micro_batch_size_of(settings)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=micro_batch_size,
        gradient_accumulation_steps=settings.batch_size // (micro_batch_size * n_processes()),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=settings.warmup_ratio,  # below 1 it is a ratio
        optim=settings.optimizer,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bfloat16",
        logging_strategy="steps",
        logging_steps=settings.log_steps,
        logging_nan_inf_filter=False,
        save_strategy="no" if settings.save_steps is None else "steps",
        save_steps=settings.save_steps or 500,
        seed=seed % 2**32,  # numpy takes no more
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        ddp_find_unused_parameters=False,
        use_cache=bool(getattr(model.config, "use_cache", True)),
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )
    # Where there are several GPUs and no launcher, transformers would wrap the model in
    # nn.DataParallel: it multiplies the batch by the GPUs and cannot scatter our batches.
    # transformers offers no setting against it; its Trainer sets this very field for models
    # that are spread over GPUs already. More GPUs are used through `accelerate launch`.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def latest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the most steps, None if there is none."""
    found = [path for path in folder.glob("checkpoint-*") if path.is_dir()]
    return max(found, key=_step_number, default=None)


def _step_number(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("checkpoint-")
    if not number.isdigit():
        raise RecipeError(f"{checkpoint} is not a checkpoint of evalkit", "remove it")
    return int(number)


def _remove_older(folder: Path, keep: str) -> None:
    for path in folder.glob("checkpoint-*"):
        if path.name != keep:
            shutil.rmtree(path)
