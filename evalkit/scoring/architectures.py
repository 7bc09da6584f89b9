"""Knows for which architectures sharing and packing are exact, and which windows their layers have.

Any other takes the plain padded path. Source: the `forward` of each model in transformers
5.17 (which masks it makes, whether it passes 4D masks through and heeds restarting positions).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from evalkit.scoring.branching import BRANCHING

# One mask for all layers, with the window of `config.sliding_window` where there is one.
_ONE_MASK = frozenset({"llama", "mistral", "gemma", "phi", "phi3"})
# A mask for each kind of layer in `config.layer_types`.
_MASK_PER_LAYER_TYPE = frozenset({"qwen2", "qwen3", "gemma2"})
_WINDOWED = frozenset({"mistral", "phi3"})  # of _ONE_MASK
# Rotary embeddings that depend on the length of the whole input, not on positions alone.
_LENGTH_DEPENDENT_ROPE = frozenset({"dynamic", "longrope"})


class Architecture(NamedTuple):
    """What a model's layers attend to.

    windows: sliding window (None: unlimited) by layer type, or under "" for all layers alike.
    """

    windows: dict[str, int | None]


def causal_lm(model: Any) -> Any:
    """The transformers model itself, out of what peft wraps around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def known_architecture(model: Any) -> Architecture | None:
    """How `model` attends, or None where backbone and head cannot safely be called apart."""
    config = model.config
    kind = getattr(config, "model_type", "")
    if getattr(config, "use_bidirectional_attention", None):
        return None
    window = getattr(config, "sliding_window", None)
    if kind in _ONE_MASK:
        return Architecture({"": window if kind in _WINDOWED else None})
    if kind not in _MASK_PER_LAYER_TYPE:
        return None
    types = sorted(set(config.layer_types))
    if not set(types) <= {"full_attention", "sliding_attention"}:
        return None
    return Architecture({name: window if name == "sliding_attention" else None for name in types})


def depends_on_input_length(model: Any) -> bool:
    """Whether a sequence's log-probability depends on what else is in the forward pass."""
    parameters = getattr(model.config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    types = {str(entry.get("rope_type", "default")) for entry in [parameters, *nested]}
    return bool(types & _LENGTH_DEPENDENT_ROPE)


def attention_kernel(model: Any) -> str:
    """The attention kernel in use, as named by transformers."""
    return str(getattr(model.config, "_attn_implementation", "eager"))


def inexact_because(model: Any, layout: str) -> str:
    """Why `layout` would give other log-probabilities than single sequences; "" if it does not."""
    kernel, kind = attention_kernel(model), getattr(model.config, "model_type", "?")
    if layout == "padded":
        return ""
    if known_architecture(model) is None:
        return f"evalkit does not know how a '{kind}' model attends"
    if depends_on_input_length(model):
        return "its rotary embedding depends on the length of the whole input"
    if layout == "tree" and kernel not in {"sdpa", BRANCHING, "eager", "flex_attention"}:
        return f"the attention kernel {kernel} takes no tree-shaped mask"
    if layout == "cache" and getattr(model, "is_gradient_checkpointing", False):
        return "gradient checkpointing drops the cache of keys and values"
    return ""
