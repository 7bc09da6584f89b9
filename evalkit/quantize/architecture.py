"""What a model's config.json says about the layers that a scheme would quantize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.errors import Problem

# Each of these goes through all schemes in tests/test_quantize_architectures.py.
TESTED = frozenset(
    {"gemma", "gemma2", "gemma3_text", "llama", "mistral", "phi", "phi3", "qwen2", "qwen3"}
)
GROUP_SIZES = (128, 64, 32)
_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")
_FP8_MULTIPLE = 16


def group_problems(
    config: Mapping[str, Any], group_size: int, *, untested: bool = False
) -> list[Problem]:
    """What keeps a model from being quantized in groups of `group_size` input features."""
    problems = _architecture_problems(config, untested)
    widths = _input_widths(config)
    for name, width in widths.items():
        if width % group_size:
            problems.append(
                _problem(
                    name,
                    f"{width} input features cannot be divided into groups of {group_size}",
                    _group_hint(list(widths.values())),
                )
            )
    return problems


def fp8_problems(config: Mapping[str, Any], *, untested: bool = False) -> list[Problem]:
    """What keeps a model from being quantized to FP8."""
    problems = _architecture_problems(config, untested)
    for name, width in _input_widths(config).items():
        if width % _FP8_MULTIPLE:
            # Source: torch._scaled_mm and vLLM's cutlass_scaled_mm both refuse other widths.
            problems.append(
                _problem(
                    name,
                    f"{width} input features are not a multiple of {_FP8_MULTIPLE},"
                    " which FP8 kernels need",
                    "leave this variant out for this model",
                )
            )
    return problems


def _architecture_problems(config: Mapping[str, Any], untested: bool) -> list[Problem]:
    if config.get("quantization_config"):
        return [
            _problem(
                "quantization_config",
                "the model is quantized already",
                "make the variant from the full-precision checkpoint",
            )
        ]
    found = [key for key in _EXPERT_KEYS if (config.get(key) or 0) > 1]
    if found:
        return [
            _problem(
                found[0],
                "mixture-of-experts models are not supported",
                "leave the quantized variants out for this model",
            )
        ]
    model_type = str(config.get("model_type", ""))
    if model_type in TESTED or untested:
        return _missing_widths(config)
    return [
        _problem(
            "model_type",
            f"quantizing '{model_type}' models is not tested (tested: {', '.join(sorted(TESTED))})",
            "set untested_architecture: true beside the scheme's name to try it",
        )
    ]


def _missing_widths(config: Mapping[str, Any]) -> list[Problem]:
    needed = ("hidden_size", "intermediate_size", "num_attention_heads")
    return [
        _problem(key, "is missing", "give the config that belongs to it")
        for key in needed
        if not config.get(key)
    ]


def _problem(key: str, message: str, hint: str) -> Problem:
    # `where` stays empty: the caller knows which line of the recipe asked for the variant.
    return Problem("", f"config.json: {key}: {message}", hint)


def _input_widths(config: Mapping[str, Any]) -> dict[str, int]:
    """Input features of the linear layers, by where they come from; what is absent is left out."""
    widths = {key: config.get(key) for key in ("hidden_size", "intermediate_size")}
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    if heads and hidden:
        head_dim = config.get("head_dim") or hidden // heads
        widths["num_attention_heads x head_dim"] = heads * head_dim
    return {name: int(width) for name, width in widths.items() if width}


def _group_hint(widths: list[int]) -> str:
    for size in GROUP_SIZES:
        if all(width % size == 0 for width in widths):
            return f"set group_size: {size} beside the scheme's name"
    return "use fp8_dynamic, which has no groups"
