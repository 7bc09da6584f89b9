"""Trackers (TensorBoard, W&B) that training may report to: how to run, not what to make."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from evalkit.errors import PrerequisiteError
from evalkit.rundir import LOGS

if TYPE_CHECKING:
    from evalkit.pipeline.step import StepContext
    from evalkit.trainers.reporting import Reports

TRACKERS = ("tensorboard", "wandb")  # as transformers and pip name them


def require_trackers(names: Sequence[str]) -> None:
    """Raises PrerequisiteError if a tracker's package, or what it needs, is not there."""
    for name in names:
        if find_spec(name) is None:
            raise PrerequisiteError(
                f"--report-to {name}: the Python package '{name}' is not installed",
                f"pip install {name}",
            )
    if "wandb" in names:
        _require_wandb_login()


def _require_wandb_login() -> None:
    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return
    import wandb

    try:
        known = wandb.login(prompt=False)
    except wandb.Error as error:
        known, why = False, f"W&B refuses this login: {error}"
    else:
        why = "W&B knows no API key of yours"
    if not known:
        hint = "type 'wandb login', or set WANDB_MODE=offline"
        raise PrerequisiteError(f"--report-to wandb: {why}", hint)


def reports_of(context: StepContext, step: str) -> Reports:
    """Where a training step of a run reports to."""
    from evalkit.trainers.reporting import Reports

    folder = (context.run.path / LOGS / step).absolute()
    return Reports(context.options.report_to, folder, f"{context.recipe.name}/{step}")
