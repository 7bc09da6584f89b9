"""The rules of precision: float32 sums and master weights, and training that starts at 0 nats.

Source: `torch.optim.RMSprop` of PyTorch 2.13, which has no bias correction.
"""

from __future__ import annotations

import math

import torch

from evalkit.console import warn
from evalkit.errors import ScoreError
from evalkit.trainers.batches import Piece, schedule_steps
from evalkit.training_settings import TrainingSettings

# Largest |log-ratio| before the first step, per square root of a response's length, in nats.
TOLERANCE_NATS = {"float32": 1e-3, "bfloat16": 0.05}
# torch's RMSprop divides by the root of a running mean that begins at 0 and keeps 99 %: its first
# steps are 10, 7.1, 5.8, 5.0, ... times what they would be with Adam's correction.
RMSPROP_WARM_UP_STEPS = 10


def check_master_weights(model: torch.nn.Module) -> None:
    """Raises ScoreError if a weight that is trained is not kept in float32.

    At a learning rate of 5e-7 an update is below the spacing of bfloat16 and would be lost.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise ScoreError(
                f"{name} would be trained in {kind}, in which small updates are lost",
                "load the model in float32; training.precision: bfloat16 computes in bfloat16",
            )


def warn_of_short_warm_up(settings: TrainingSettings, n_examples: int) -> None:
    """Says so where RMSProp's first steps, too large without a warm-up, are not held back."""
    warm_up = math.ceil(schedule_steps(settings, n_examples) * settings.warmup_ratio)
    if settings.optimizer == "rmsprop" and warm_up < RMSPROP_WARM_UP_STEPS:
        warn(
            f"rmsprop with {warm_up} steps of warm-up: its first steps are up to 10"
            " times too large, as its running mean begins at 0; raise training.warmup_ratio, or"
            " take optimizer adamw_torch, which corrects for that"
        )


def check_starts_at_reference(piece: Piece, policy_N: torch.Tensor, precision: str) -> None:
    """Raises unless, before the first step, policy and reference agree.

    Raises:
        ScoreError: they do not: the reference was computed with other weights or otherwise.
    """
    if piece.reference_N is None:
        return
    drift_N = (policy_N.detach() - piece.reference_N.to(policy_N.device)).abs()
    allowed_N = TOLERANCE_NATS[precision] * piece.n_tokens_N.to(policy_N.device).sqrt()
    if not bool((drift_N <= allowed_N).all()):
        raise ScoreError(
            f"before the first step a log-ratio to the reference is {float(drift_N.max()):.3g} nats"
            " instead of 0",
            "the reference log-probabilities belong to other weights, tokens or precision:"
            " delete them and train again",
        )
