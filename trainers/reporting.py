"""Shows a training step while it runs: a line for people, and trackers such as TensorBoard.

What depends on the clock is shown here only: what is kept of a run is equal for equal runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from evalkit.console import is_rank_zero
from evalkit.roles import Progress
from evalkit.trainers.watching import TOKENS_PER_STEP

TOKENS_PER_SECOND = "tokens_per_second"
# The line for people: what is there of these, as (what it is called, format, metric).
_SHOWN = (
    ("loss/η²", ".4g", "loss_over_eta2"),
    ("loss", ".4g", "loss"),
    ("margin", ".3g", "margin_nats"),
    ("acc", ".2f", "accuracy"),
    ("corr", ".2f", "delta_win_correlation"),
    ("KL/token", ".2g", "kl_k3_per_token_nats"),
    ("grad", ".3g", "grad_norm"),
    ("tokens/s", ".0f", TOKENS_PER_SECOND),
)
_INSTEAD = {"loss": "loss_over_eta2", "delta_win_correlation": "accuracy"}  # shown if that is not


class Reports(NamedTuple):
    """Trackers that a training step reports to, named as in transformers' `report_to`.

    folder: of the event files; name: what the trackers call the run.
    """

    to: Sequence[str] = ()
    folder: Path = Path("logs")
    name: str = ""

    @contextmanager
    def open(self) -> Iterator[None]:
        """A block in which trackers keep their files in `folder`, a run of theirs for each block.

        What people have set themselves in W&B's environment variables goes before.
        """
        if not self.to or not is_rank_zero():
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if "wandb" not in self.to:
            yield
            return
        import wandb

        # transformers would go on with the run of the training before, if there was one.
        project = os.environ.get("WANDB_PROJECT", "evalkit")
        folder = os.environ.get("WANDB_DIR", str(self.folder))
        with wandb.init(project=project, dir=folder, name=self.name):
            yield

    def place(self, callbacks: Sequence[TrainerCallback]) -> None:
        """Has TensorBoard write into `folder`, which transformers asks the environment for."""
        for callback in callbacks:
            if isinstance(callback, TensorBoardCallback):
                callback.logging_dir = str(self.folder)


NO_REPORTS = Reports()


class Pace(TrainerCallback):
    """Tokens per second since training began, or since somebody last asked."""

    def __init__(self) -> None:
        self._step, self._time_s = 0, time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called before the first step, of a resumed training too."""
        self._step, self._time_s = state.global_step, time.monotonic()

    def tokens_per_second(self, step: int, metrics: Mapping[str, float]) -> float:
        """Of the steps up to number `step`, whose `metrics` these are."""
        steps, now_s = step - self._step, time.monotonic()
        pace = steps * metrics[TOKENS_PER_STEP] / max(now_s - self._time_s, 1e-9)
        self._step, self._time_s = step, now_s
        return pace


class ShowProgress(TrainerCallback):
    """Tells our own display how far training is and what it measures; has the last step logged."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._note = progress, "training"

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after every optimizer step, before its metrics are logged."""
        if state.global_step >= state.max_steps:
            control.should_log = True  # on every rank, as logging gathers from all
        self._show(state)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any
    ) -> None:
        """Called with each line of metrics."""
        self._note = f"training  {line(logs)}"
        self._show(state)

    def _show(self, state: Any) -> None:
        if state.is_world_process_zero:
            self._progress(state.global_step, state.max_steps, self._note)


def line(metrics: Mapping[str, float]) -> str:
    """The metrics that a person watches, in one line."""
    return "  ".join(
        f"{label} {metrics[name]:{form}}"
        for label, form, name in _SHOWN
        if name in metrics and _INSTEAD.get(name) not in metrics
    )
