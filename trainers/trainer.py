"""The one trainer of all methods: transformers' Trainer around the scoring core.

Checkpointing, schedules, clipping and distribution are transformers' and accelerate's; here are
the loss and exact accumulation. Precision is the scoring model's own: no wrapper is told of it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PrinterCallback, TrainingArguments

from evalkit.console import say
from evalkit.errors import ScoreError
from evalkit.records import TrainingExample
from evalkit.roles import Method, Progress, Statistic
from evalkit.scoring import ScoringModel, default_token_budget
from evalkit.trainers import bad_batch, memory
from evalkit.trainers.batches import (
    EpochSampler,
    Piece,
    idle_piece,
    pack,
    schedule_steps,
    share_of,
    weight_of,
)
from evalkit.trainers.checkpoints import CheckpointedTrainer
from evalkit.trainers.distribution import (
    WAIT,
    EvenSampler,
    backward,
    is_sharded,
    most_of_any_rank,
    unsynchronised,
    unused_parameters,
)
from evalkit.trainers.precision import check_master_weights, check_starts_at_reference
from evalkit.trainers.reporting import (
    NO_REPORTS,
    TOKENS_PER_SECOND,
    Pace,
    Reports,
    ShowProgress,
)
from evalkit.trainers.watching import Tally, responses_watched, step_watched, work_watched
from evalkit.training_settings import TrainingSettings

# As transformers calls them; its plain `constant` would ignore the warm-up.
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


class _Pass(NamedTuple):
    """What a forward pass gave: the loss carries the graph until it was propagated back."""

    piece: Piece
    loss: Tensor
    policy_N: Tensor
    watched: tuple[Mapping[str, Statistic], ...]


class MethodTrainer(CheckpointedTrainer):
    """Minimises a method's loss of log-probabilities, a whole batch per optimizer step.

    Its micro-batches are forward passes, made when a step begins: their size may have to change.

    folder: receives `checkpoint-N` sub-folders, each complete or absent.
    failures: receives the batch at which training had to stop; default `folder`.
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
        failures: Path | None = None,
        reports: Reports = NO_REPORTS,
    ) -> None:
        self._method, self._settings, self._seed = method, settings, seed
        self._layout, self._failures = model.layout, failures or folder
        budget = settings.token_budget or default_token_budget(
            model.model.device.type, training=True
        )
        self._budget = memory.TokenBudget(budget, folder / memory.FILE)
        self._passed: list[_Pass] = []
        self._pace = Pace()
        check_master_weights(model)
        super().__init__(
            model=model,
            args=training_arguments(settings, folder, seed, model, reports),
            data_collator=_there,
            train_dataset=[*examples, None],  # what fills the last batch of some processes
            callbacks=[ShowProgress(progress), self._pace],
        )
        self._tally = Tally(self.args.device)
        if self.accelerator.num_processes > 1 and not is_sharded(self.accelerator):
            unused = self._leaves_some_unused(model)
            self.accelerator.ddp_handler.find_unused_parameters = unused
        self.remove_callback(PrinterCallback)
        reports.place(self.callback_handler.callbacks)

    def _leaves_some_unused(self, model: ScoringModel) -> bool:
        """Whether a pass over text leaves trained weights without a gradient."""
        piece = self._idle_piece.to(self.args.device)
        return bool(unused_parameters(model, model.train()(piece.packed).logp_N))

    # --- data and schedule ---

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler | EvenSampler:
        count, processes = len(self.train_dataset) - 1, self.accelerator.num_processes
        self._sampler = EpochSampler(count, self._seed)
        if processes == 1:
            return self._sampler
        multiple = self.args.per_device_train_batch_size * processes
        return EvenSampler(self._sampler, multiple, count)

    def _run_epoch(self, **rest: Any) -> None:
        """Tells the sampler its epoch: where one is resumed, accelerate's wrappers hide it."""
        self._sampler.set_epoch(rest["epoch"])
        super()._run_epoch(**rest)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Lays the schedule out for `schedule_epochs`, however early training stops."""
        steps = schedule_steps(self._settings, len(self.train_dataset) - 1)
        return super().create_scheduler(steps, optimizer)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """The examples of one optimizer step, and what they weigh on all ranks together."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        own = sum(weight_of(examples, self._method.weighting) for examples in samples)
        total = torch.tensor(own, dtype=torch.float64, device=device)
        return samples, self.accelerator.reduce(total, "sum")

    def _passes(self, examples: list[TrainingExample]) -> list[Piece]:
        """Forward passes over examples, as many on every process, as far as they must agree."""
        budget = self._budget.at(self.state.global_step)
        passes = pack(examples, budget, self._layout, self._settings.micro_batch_size)
        if self.accelerator.num_processes == 1:
            return passes
        # Sharded weights are gathered in each pass. Else the last one synchronises the gradients:
        # an idle one then, as a pass in which others wait cannot be done again.
        [most] = most_of_any_rank(self.accelerator, [len(passes)])
        wanted = most if is_sharded(self.accelerator) else most + 1
        return passes + [self._idle_piece] * (wanted - len(passes))

    @cached_property
    def _idle_piece(self) -> Piece:
        return idle_piece(self.train_dataset[:-1], self._layout)

    # --- loss ---

    def training_step(
        self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None
    ) -> Tensor:
        """Forward and backward over this process's part of a batch; its share of the batch loss.

        Where memory runs out on any process, all of them begin the batch again in smaller passes.
        """
        model.train()
        while True:
            passes = self._passes(inputs)
            self._passed = []
            last = len(passes) if self.accelerator.num_processes == 1 else len(passes) - 1

            def begin(passes: list[Piece] = passes, last: int = last) -> None:
                for number, piece in enumerate(passes[:last], 1):
                    self._pass(model, piece, num_items_in_batch, number == len(passes))

            ran_out = memory.ran_out_of_memory(begin)
            if not self._lowers_budget(passes[len(self._passed)] if ran_out else None):
                break
            model.zero_grad()
        for piece in passes[last:]:
            self._pass(model, piece, num_items_in_batch, True)
        for one in self._passed:
            for statistics in one.watched:
                self._tally.add(statistics, one.piece.counts)
        return torch.stack([one.loss for one in self._passed]).sum()

    def _pass(self, model: torch.nn.Module, piece: Piece, whole: Any, last: bool) -> None:
        """One forward and backward pass, its gradients added to those that are there."""
        # Ranks average their gradients, so each piece counts as if it were on every rank.
        share = piece.weight(self._method.weighting) / float(whole) * self.accelerator.num_processes
        self._recompute_if_large(piece)
        with contextlib.nullcontext() if last else unsynchronised(self.accelerator, model):
            with self.compute_loss_context_manager():
                one = self._forward(model, piece)
                loss = one.loss * share
            backward(self.accelerator, loss)
        self._passed.append(one._replace(loss=loss.detach(), policy_N=one.policy_N.detach()))

    @property
    def _may_recompute(self) -> bool:
        """Whether it is left to each pass; what the cache layout reuses cannot be recomputed."""
        left = self._settings.gradient_checkpointing == "auto" and self._layout != "cache"
        return left and self.model.can_recompute_activations

    def _recompute_if_large(self, piece: Piece) -> None:
        """Bounds what a pass holds: activations of as many tokens as the budget, and no more."""
        if self._may_recompute:
            # Where weights are gathered layer by layer, all processes must do so equally often.
            slots = self._most_slots if is_sharded(self.accelerator) else piece.packed.n_slots
            self.model.recompute_activations(slots > self._budget.at(self.state.global_step))

    @cached_property
    def _most_slots(self) -> int:
        """Tokens of the largest pass that any single example makes."""
        alone = (pack([example], 1, self._layout)[0] for example in self.train_dataset[:-1])
        return max(piece.packed.n_slots for piece in alone)

    def _forward(self, model: torch.nn.Module, piece: Piece) -> _Pass:
        """The method's mean loss over one piece.

        Raises:
            ScoreError: it is not a finite number, or the first step does not start at 0 nats.
        """
        piece = piece.to(self.args.device)
        scored = model(piece.packed, watch=self._is_logged())
        if self.state.global_step == 0:
            check_starts_at_reference(piece, scored.logp_N, self._settings.precision)
        batch = piece.logp_batch(scored.logp_N)
        loss, metrics = self._method.loss(batch)
        responses = responses_watched(piece.examples, batch, scored)
        work = work_watched(piece.examples, piece.packed)
        one = _Pass(piece, loss, scored.logp_N, (metrics, responses, work))
        if not bool(torch.isfinite(loss)):
            raise self._stopped("loss", [one])
        return one

    # --- what stops a step ---

    def _lowers_budget(self, failed: Piece | None) -> bool:
        """Whether memory ran out on any process; if so, all of them now have a smaller budget."""
        step = self.state.global_step
        budget = self._budget.at(step)
        own = budget
        if failed is not None:
            own = memory.smaller_budget(budget, failed, self._may_recompute)
        agreed = memory.least_of_any_rank(self.accelerator, own)
        if agreed == budget:
            return False
        if agreed == 0:
            raise memory.too_large(failed)
        self._budget.lower(step, agreed)
        if is_sharded(self.accelerator):
            raise memory.others_wait(f"in step {step + 1}", agreed)
        say(
            f"note: memory ran out in step {step + 1}: it is done again, and training goes on, with"
            f" forward passes of at most {agreed} tokens; batches stay the same"
        )
        return True

    def _stopped(self, what: str, passed: Sequence[_Pass]) -> ScoreError:
        """The error of a number that is not finite; the batch is kept for looking into it."""
        step, rank = self.state.global_step + 1, self.accelerator.process_index
        examples = [example for one in passed for example in one.piece.examples]
        logps = [value for one in passed for value in one.policy_N.tolist()]
        file = self._failures / (f"rank-{rank}-{bad_batch.FILE}" if rank else bad_batch.FILE)
        rate = self._get_learning_rate()
        split = bad_batch.split_by_example(examples, logps)
        bad_batch.keep(file, bad_batch.BadBatch(step, rate, examples, split))
        return ScoreError(
            f"the {what} of step {step} is not a finite number, so the step was not done; its batch"
            f" is kept in {file}",
            "lower learning_rate, or lengthen the warm-up (warmup_ratio); look for targets and"
            " reference log-probabilities in that file that are no numbers",
        )

    # --- metrics ---

    def _is_logged(self) -> bool:
        """Whether the step under way ends with a line of metrics."""
        return (self.state.global_step + 1) % self._settings.log_steps == 0

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """The norm before clipping, as transformers asks for it once per optimizer step."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if not math.isfinite(norm):
            raise self._stopped("gradient", [one for one in self._passed if one.piece.counts])
        limit, n_ranks = self._settings.max_grad_norm, self.accelerator.num_processes
        self._tally.add(step_watched(norm, limit, n_ranks))
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Keeps the metrics of optimizer steps; what depends on the clock is shown and not kept."""
        if "loss" in logs:
            watched = self._tally.drain(lambda sums: self.accelerator.reduce(sums, "sum"))
            pace = self._pace.tokens_per_second(self.state.global_step, watched)
            super().log({**logs, **watched, TOKENS_PER_SECOND: pace})
            del self.state.log_history[-1][TOKENS_PER_SECOND]

    def metrics(self) -> list[dict[str, float]]:
        """One record per logged step, those before a resumed checkpoint included."""
        # transformers' `epoch` counts micro-batches, which are not of equal size.
        return [
            {key: entry[key] for key in sorted(entry) if key != "epoch"}
            for entry in self.state.log_history
        ]


def _there(members: Sequence[TrainingExample | None]) -> list[TrainingExample]:
    return [member for member in members if member is not None]


def training_arguments(
    settings: TrainingSettings,
    folder: Path,
    seed: int,
    model: ScoringModel,
    reports: Reports = NO_REPORTS,
) -> TrainingArguments:
    """What transformers' Trainer is told; it shows no progress bar of its own."""
    on_cpu = model.model.device.type == "cpu"
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=share_of(settings),  # an optimizer step's; we accumulate
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=settings.warmup_ratio,  # below 1 it is a ratio
        optim=settings.optimizer,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        logging_strategy="steps",
        logging_steps=settings.log_steps,
        logging_nan_inf_filter=False,
        save_strategy="no" if settings.checkpoint_steps is None else "steps",
        save_steps=settings.checkpoint_steps or 500,
        seed=seed % 2**32,  # numpy takes no more
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        ddp_timeout=int(WAIT.total_seconds()),
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,  # they are constants, and a pass done again must meet no one
        use_cache=bool(getattr(model.config, "use_cache", True)),
        remove_unused_columns=False,
        report_to=list(reports.to),
        run_name=reports.name or None,
        disable_tqdm=True,
    )
    # Where there are several GPUs and no launcher, transformers would wrap the model in
    # nn.DataParallel: it multiplies the batch by the GPUs and cannot scatter our batches.
    # transformers offers no setting against it; its Trainer sets this very field for models
    # that are spread over GPUs already. More GPUs are used through `accelerate launch`.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
