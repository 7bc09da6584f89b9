"""Log-probabilities under the reference, once per iteration, with no second model in memory.

The reference is the checkpoint that training starts from. Its pass has the layouts,
precision and kernels of the first epoch, so that log-ratios start at zero but for rounding.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from evalkit.durable import locked, write_text
from evalkit.errors import ScoreError
from evalkit.fingerprint import fingerprint
from evalkit.loading import load_model, weights_digest
from evalkit.records import TrainingExample
from evalkit.roles import Progress
from evalkit.scoring import ScoringModel, default_token_budget
from evalkit.trainers.batches import Piece, epoch_order, micro_batch_size_of, pack
from evalkit.training_settings import TrainingSettings

# Largest |log-ratio| before the first step, per square root of a response's length, in nats.
TOLERANCE_NATS = {"float32": 1e-3, "bfloat16": 0.05}


def reference_logps(
    examples: Sequence[TrainingExample],
    start: str | Path,
    settings: TrainingSettings,
    seed: int,
    progress: Progress,
    cache: Path | None = None,
) -> list[TrainingExample]:
    """The examples with `reference_logps` under the checkpoint in folder `start`.

    cache: a file in which they are kept, bound to weights, token ids, precision, kernel and
        layout; anything else found in it is ignored and replaced.
    """
    model = training_model(start, settings)
    key = _key(examples, start, settings, seed, model)
    logps = _cached(cache, key)
    if logps is None:
        logps = score_examples(model, examples, settings, seed, progress)
        if cache is not None:
            _keep(cache, key, logps)
    return [
        replace(example, reference_logps=tuple(values))
        for example, values in zip(examples, logps, strict=True)
    ]


def training_model(start: str | Path, settings: TrainingSettings) -> ScoringModel:
    """The checkpoint in float32 and without dropout, as both passes use it."""
    model = load_model(start, dtype="float32").model
    disable_dropout(model)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return ScoringModel(model)


def disable_dropout(model: torch.nn.Module) -> None:
    """Sets every dropout probability in the model to zero; its config keeps what it says."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
                setattr(module, name, 0.0)


def score_examples(
    model: ScoringModel,
    examples: Sequence[TrainingExample],
    settings: TrainingSettings,
    seed: int,
    progress: Progress,
) -> list[list[float]]:
    """Log-probabilities of every continuation, computed in the batches of the first epoch."""
    device = model.model.device
    budget = settings.token_budget or default_token_budget(device.type)
    order = epoch_order(len(examples), seed, epoch=0)
    size = micro_batch_size_of(settings)
    logps: list[list[float]] = [[]] * len(examples)
    model.eval()
    for start in range(0, len(order), size):
        members = order[start : start + size]
        for piece in pack([examples[i] for i in members], budget, model.shared):
            with torch.no_grad(), autocast(device.type, settings.precision):
                values = iter(model(piece.packed.to(device)).logp_N.float().tolist())
            for index in piece.indices:
                count = len(examples[members[index]].continuations)
                logps[members[index]] = [next(values) for _ in range(count)]
        progress(min(start + size, len(order)), len(order), "reference")
    return logps


def autocast(device_type: str, precision: str) -> contextlib.AbstractContextManager[Any]:
    """The context in which a forward pass has this precision."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=torch.bfloat16)


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


def _key(
    examples: Sequence[TrainingExample],
    start: str | Path,
    settings: TrainingSettings,
    seed: int,
    model: ScoringModel,
) -> str:
    return fingerprint(
        {
            "weights": weights_digest(start),
            "tokens": [[e.prompt_token_ids, e.continuations] for e in examples],
            "settings": settings.model_dump(include={"precision", "token_budget"}),
            "seed": seed,
            "micro_batch_size": micro_batch_size_of(settings),
            "kernel": model.config._attn_implementation,
            "shared": model.shared,
            "device": model.model.device.type,
            "torch": torch.__version__,
        }
    )


def _cached(cache: Path | None, key: str) -> list[list[float]] | None:
    if cache is None or not cache.is_file():
        return None
    content = json.loads(cache.read_text("utf-8"))
    return content["logps"] if content["key"] == key else None


def _keep(cache: Path, key: str, logps: list[list[float]]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    with locked(cache):  # every process of a distributed run computes and keeps them
        write_text(cache, json.dumps({"key": key, "logps": logps}))
