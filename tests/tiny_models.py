"""Random models of many architectures, small enough to run in a test."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM

TINY = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ARCHITECTURES = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "mistral_window": {"model_type": "mistral", "sliding_window": 7},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 7, "attn_implementation": "eager"},
    "phi": {"partial_rotary_factor": 0.5, "num_key_value_heads": 4},
    "phi3": {"sliding_window": 7},
    "qwen2": {},
    "qwen2_window": {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 7,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    },
    "qwen3": {"head_dim": 8},
    "gpt_neox": {},  # not known to share exactly: takes the plain path
}


def tiny_model(name: str, **changes: object) -> torch.nn.Module:
    options = {**TINY, **ARCHITECTURES[name], **changes}
    kind = options.pop("model_type", name)
    attention = options.pop("attn_implementation", "sdpa")
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **options)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
