"""The optimizer's state handed from one iteration to the next, by the names of the weights.

Handed on are moments and, for bias correction, how many steps they were gathered over; learning
rate and schedule begin anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import TrainerCallback

from evalkit.errors import RecipeError

_START_FRESH = "training.optimizer_state: fresh starts without it"


class GoOnWithOptimizer(TrainerCallback):
    """Sets a new optimizer to the state in a file, before the first step of training.

    name: the optimizer's, as transformers calls it.
    """

    def __init__(self, file: Path, name: str, accelerator: Accelerator) -> None:
        self._file, self._name, self._accelerator = file, name, accelerator

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called once the optimizer is there; a resumed step has the state it was saved with."""
        if state.global_step == 0:
            model = self._accelerator.unwrap_model(kwargs["model"])
            set_state(kwargs["optimizer"], model, self._file, self._name)


def save_state(
    optimizer: torch.optim.Optimizer, model: nn.Module, file: Path, name: str, write: bool = True
) -> None:
    """Writes the state of every trained weight; called by all processes, one of which writes."""
    found = {
        weight: {key: _whole(value) for key, value in optimizer.state[parameter].items()}
        for _, weight, parameter in _trained(optimizer, model)
        if parameter in optimizer.state
    }
    if write:
        torch.save({"optimizer": name, "state": found}, file)


def set_state(optimizer: torch.optim.Optimizer, model: nn.Module, file: Path, name: str) -> None:
    """Sets a new optimizer's state to what `save_state` wrote, and nothing else of it.

    Raises:
        RecipeError: it belongs to another optimizer, or to other weights.
    """
    kept = torch.load(file, map_location="cpu", weights_only=True)
    if kept["optimizer"] != name:
        raise RecipeError(
            f"the optimizer of the iteration before was {kept['optimizer']}, and is {name} now",
            _START_FRESH,
        )
    trained = list(_trained(optimizer, model))
    shapes = {weight: parameter.shape for _, weight, parameter in trained}
    if unknown := sorted(kept["state"].keys() - shapes.keys()):
        raise RecipeError(
            f"the optimizer of the iteration before trained {unknown[0]}, which is not trained now",
            _START_FRESH,
        )
    state = {
        index: {key: _like(value, parameter) for key, value in kept["state"][weight].items()}
        for index, weight, parameter in trained
        if weight in kept["state"]
    }
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _trained(
    optimizer: torch.optim.Optimizer, model: nn.Module
) -> Iterator[tuple[int, str, nn.Parameter]]:
    """Number in the optimizer's state, name and parameter of all that it trains."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = zip(optimizer.param_groups, optimizer.state_dict()["param_groups"], strict=True)
    for group, numbered in groups:
        for index, parameter in zip(numbered["params"], group["params"], strict=True):
            yield index, names[id(parameter)], parameter


def _whole(value: Any) -> Any:
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.cpu() if isinstance(value, Tensor) else value


def _like(value: Any, parameter: nn.Parameter) -> Any:
    """A whole tensor cut up as the parameter it belongs to is."""
    if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.dim():
        device = parameter.device_mesh.device_type
        return distribute_tensor(value.to(device), parameter.device_mesh, parameter.placements)
    return value
