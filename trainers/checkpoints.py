"""Checkpoints within a training step that a kill cannot spoil, whole or sharded.

transformers' Trainer writes `checkpoint-N` in place and resumes the highest, finished or not;
here each is written aside, made durable and renamed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from transformers import Trainer, TrainerCallback

from evalkit.durable import move, sync_tree
from evalkit.errors import RecipeError
from evalkit.trainers.distribution import is_sharded, use_launch

_WEIGHTS = "weights.pt"
_PARTIAL = "partial"


class CheckpointedTrainer(Trainer):
    """transformers' Trainer with checkpoints that are complete or absent."""

    _staging: Path | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_callback(_NoneOfShortTraining)

    def create_accelerator_and_postprocess(self) -> None:
        """Makes the accelerator that the launch asks for."""
        super().create_accelerator_and_postprocess()
        use_launch(self.accelerator, self.model.model)
        self.is_fsdp_enabled = getattr(self.accelerator.state, "fsdp_plugin", None) is not None

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """The norm over all ranks; sharded gradients give one that is still to be added up."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def latest_checkpoint(self) -> Path | None:
        """The complete checkpoint with the most steps that this way of sharding can read."""
        return latest_checkpoint(self._checkpoints())

    def _checkpoints(self) -> Path:
        """Where checkpoints lie: those of one way of sharding are not another's."""
        kind = self.accelerator.distributed_type.value.lower()
        folder = Path(self.args.output_dir)
        return folder / kind if is_sharded(self.accelerator) else folder

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or self._checkpoints())

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Writes a checkpoint aside and renames it: whole and durable, or never met on resuming."""
        final = self._checkpoints()
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
        # Each machine makes durable what it has written; one process of it can do so for all.
        if self.is_local_process_zero():
            sync_tree(staging / name)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            move(staging / name, final / name)
            _remove_older(final, keep=name)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves whole weights; sharded ones are saved by all ranks with the optimizer's state."""
        if not is_sharded(self.accelerator):
            super().save_model(output_dir, _internal_call)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        state = self.model.state_dict() if state_dict is None else state_dict
        trained = _trained(self.model)
        torch.save({name: state[name] for name in state if name in trained}, folder / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        subject = self.model if model is None else model
        if self.is_fsdp_enabled:
            from accelerate.utils import load_fsdp_model

            plugin = self.accelerator.state.fsdp_plugin
            load_fsdp_model(plugin, self.accelerator, subject, resume_from_checkpoint)
            return
        weights = torch.load(
            Path(resume_from_checkpoint) / _WEIGHTS, map_location="cpu", weights_only=True
        )
        if missing := _trained(subject) - weights.keys():
            raise RecipeError(
                f"{resume_from_checkpoint} lacks {min(missing)}", "remove it: training starts anew"
            )
        subject.load_state_dict(weights, strict=False)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Loads them; torch.load knows no `cpu:0`, as each of several processes calls its CPU."""
        if self.args.device.type == "cpu":
            self.args.__dict__["_setup_devices"] = torch.device("cpu")  # what `device` has cached
        super()._load_optimizer_and_scheduler(checkpoint)


class _NoneOfShortTraining(TrainerCallback):
    """Saves nothing of a training that ends before its first checkpoint is due.

    transformers also saves behind the last step: worth its disk where it saves many steps.
    """

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after every optimizer step, once transformers has decided what to do."""
        if state.global_step < args.save_steps:
            control.should_save = False


def _trained(model: torch.nn.Module) -> set[str]:
    """Names of what training changes: around an adapter, not the frozen weights."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


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
