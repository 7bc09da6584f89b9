"""What is known of a model that evalkit has not loaded: its config.json, and what is stated."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from evalkit import checkpoint_size
from evalkit.errors import RecipeError
from evalkit.family import ModelFacts
from evalkit.loading import config_of

UNKNOWN = ModelFacts(None, None, None, None)
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def facts_of(
    config: Path | None,
    parameters: str | None = None,
    architecture: str | None = None,
    context_length: int | None = None,
) -> ModelFacts:
    """What config.json says and the weights beside it, if there are any; else what is stated.

    Raises:
        RecipeError: the config or the number is none.
    """
    counted = _count(parameters) if parameters else None
    stated = replace(
        UNKNOWN, parameters=counted, architecture=architecture, context_length=context_length
    )
    if config is None:
        return stated
    if config.is_file() and config.name != "config.json":
        raise RecipeError(f"--config {config} is no config.json", "give that file, or its folder")
    folder = config if config.is_dir() else config.parent
    values = config_of(folder)
    context = values.get("max_position_embeddings")
    weights = any(folder.glob("*.safetensors"))
    return ModelFacts(
        architecture=(values.get("architectures") or [architecture])[0],
        parameters=checkpoint_size.parameters(folder) if weights else counted,
        context_length=context if isinstance(context, int) else context_length,
        size_bytes=checkpoint_size.checkpoint_bytes(folder) if weights else None,
    )


def _count(text: str) -> int:
    found = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([KMBT]?)", text.strip(), re.IGNORECASE)
    if found is None:
        raise RecipeError(f"--parameters {text} is no number", "7241732096, or 7.24B")
    number = float(found[1].replace(",", "").replace("_", ""))
    return round(number * _UNITS[found[2].upper()])
