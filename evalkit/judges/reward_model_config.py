"""What the config.json of a reward model says: that it is one, its labels, how much it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.errors import RecipeError, did_you_mean

_SUFFIX = "ForSequenceClassification"
_HINT = "give a sequence-classification model, such as Skywork/Skywork-Reward-V2-Llama-3.1-8B"
_UNSET = 1_000_000  # tokens; tokenizers without a limit say 1e30


def check_config(config: Mapping[str, Any], model: str, label: str | int | None) -> None:
    """Raises RecipeError unless a config is that of a reward model with this label."""
    kinds = config.get("architectures") or ["none is named"]
    if not str(kinds[0]).endswith(_SUFFIX):
        raise RecipeError(
            f"{model} is no reward model: its architecture ({kinds[0]}) has no score head", _HINT
        )
    label_index(config, model, label)


def label_index(config: Mapping[str, Any], model: str, label: str | int | None) -> int:
    """Which output of the model is the reward.

    Raises:
        RecipeError: there is no such label, or there are several and none was chosen.
    """
    names = labels(config)
    if label is None:
        if len(names) == 1:
            return 0
        raise RecipeError(
            f"{model} has {len(names)} labels ({', '.join(names)}), and none is said to be good",
            f"set 'label' to one of them, say 'label: {names[-1]}'",
        )
    if isinstance(label, int):
        if 0 <= label < len(names):
            return label
        raise RecipeError(
            f"{model} has no label number {label}: it has {len(names)}, from 0",
            f"its labels: {', '.join(names)}",
        )
    if label not in names:
        raise RecipeError(f"{model} has no label '{label}'", did_you_mean(label, names))
    return names.index(label)


def labels(config: Mapping[str, Any]) -> list[str]:
    """The labels in the order of the model's outputs; a config without any has two."""
    named = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [str(named[key]) for key in sorted(named, key=int)]


def length_limit(
    config: Mapping[str, Any], tokenizer_limit: float, wanted: int | None
) -> int | None:
    """Tokens that the model reads at most; None where nothing limits it.

    Raises:
        RecipeError: `wanted` is beyond the positions that the model has.
    """
    text = config.get("text_config") or config
    positions = text.get("max_position_embeddings")
    if text.get("relative_attention"):  # DeBERTa: a place is a distance, there is no last one
        positions = None
    if wanted is not None and positions and wanted > positions:
        raise RecipeError(
            f"max_length {wanted} is beyond the {positions} positions of the reward model",
            "lower it, or leave it out",
        )
    limits = [wanted] if wanted else [positions, int(min(tokenizer_limit, _UNSET))]
    known = [limit for limit in limits if limit and limit < _UNSET]
    return min(known, default=None)
