"""How many parameters a model has by its config.json alone, for the architectures known here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a model. embedding: of them, those of the token embedding and a head apart."""

    total: int
    embedding: int


@dataclass(frozen=True)
class _Decoder:
    """How a family of gated decoders departs from Llama.

    layer_norms: of the hidden size, a layer. head_norms: of queries and keys, a layer.
    """

    tied: bool = False
    qkv_bias: bool = False
    layer_norms: int = 2
    head_norms: bool = False
    head_dim: int | None = None


# Source: the configuration and modelling files of transformers 5.17.0, by `model_type`.
_DECODERS = {
    "llama": _Decoder(),
    "mistral": _Decoder(),
    "mixtral": _Decoder(),
    "qwen2": _Decoder(qkv_bias=True),
    "qwen3": _Decoder(head_norms=True, head_dim=128),
    "qwen3_moe": _Decoder(head_norms=True),
    "gemma": _Decoder(tied=True, head_dim=256),
    "gemma2": _Decoder(tied=True, layer_norms=4, head_dim=256),
    "gemma3_text": _Decoder(tied=True, layer_norms=4, head_norms=True, head_dim=256),
    "phi3": _Decoder(),
    "smollm3": _Decoder(tied=True),
}


def parameters_of(config: Mapping[str, Any]) -> ParameterCount | None:
    """Parameters of the model that a config describes; None where that cannot be told."""
    text = config.get("text_config")
    if isinstance(text, Mapping):  # a model that sees, too: its vision part is not counted here
        return None
    counters = {"phi": _phi, "gpt2": _gpt2, "gpt_neox": _gpt_neox}
    kind = config.get("model_type")
    try:
        if kind in _DECODERS:
            return _decoder(config, _DECODERS[kind])
        return counters[str(kind)](config) if kind in counters else None
    except (KeyError, TypeError, ZeroDivisionError):
        return None


def _decoder(config: Mapping[str, Any], kind: _Decoder) -> ParameterCount:
    width, heads = config["hidden_size"], config["num_attention_heads"]
    size = config.get("head_dim") or kind.head_dim or width // heads
    groups = config.get("num_key_value_heads") or heads
    attention = width * size * (2 * heads + 2 * groups)
    if kind.qkv_bias or config.get("attention_bias"):
        attention += size * (heads + 2 * groups)
        attention += 0 if kind.qkv_bias else width
    norms = kind.layer_norms * width + (2 * size if kind.head_norms else 0)
    layers = config["num_hidden_layers"]
    total = layers * (attention + norms) + _mixers(config, layers) + width
    return _with_embeddings(config, total, kind.tied)


def _mixers(config: Mapping[str, Any], layers: int) -> int:
    """The gated MLPs of all layers, or their experts with the routers."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    dense = 3 * width * inner + (2 * inner + width if config.get("mlp_bias") else 0)
    experts = config.get("num_local_experts") or config.get("num_experts")
    if not experts:
        return int(layers * dense)
    expert = 3 * width * (config.get("moe_intermediate_size") or inner)
    sparse = experts * (expert + width)  # each with its row of the router
    every, without = config.get("decoder_sparse_step", 1), config.get("mlp_only_layers") or []
    is_sparse = [n not in without and (n + 1) % every == 0 for n in range(layers)]
    return int(sum(sparse if one else dense for one in is_sparse))


def _phi(config: Mapping[str, Any]) -> ParameterCount:
    width, inner = config["hidden_size"], config["intermediate_size"]
    groups = config.get("num_key_value_heads") or config["num_attention_heads"]
    size = width // config["num_attention_heads"]
    attention = 2 * width * (width + 1) + 2 * (width + 1) * groups * size
    layer = attention + 2 * width * inner + inner + width + 2 * width
    total = config["num_hidden_layers"] * layer + 2 * width + config["vocab_size"]
    return _with_embeddings(config, total, tied=False)


def _gpt_neox(config: Mapping[str, Any]) -> ParameterCount:
    width, inner = config["hidden_size"], config["intermediate_size"]
    layer = 4 * width * (width + 1) + 2 * width * inner + inner + width + 4 * width
    return _with_embeddings(config, config["num_hidden_layers"] * layer + 2 * width, tied=False)


def _gpt2(config: Mapping[str, Any]) -> ParameterCount:
    width = config["n_embd"]
    inner = config.get("n_inner") or 4 * width
    layer = 4 * width * (width + 1) + 2 * width * inner + inner + width + 4 * width
    embedding = (config["vocab_size"] + config["n_positions"]) * width
    return ParameterCount(embedding + config["n_layer"] * layer + 2 * width, embedding)


def _with_embeddings(config: Mapping[str, Any], rest: int, tied: bool) -> ParameterCount:
    tied = bool(config.get("tie_word_embeddings", tied))
    embedding = config["vocab_size"] * config["hidden_size"] * (1 if tied else 2)
    return ParameterCount(rest + embedding, embedding)
