"""Parameters counted from a config are those of the model that transformers builds of it."""

from typing import Any

import pytest

from evalkit.model_size import parameters_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SMALL = {"vocab_size": 500, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
         "num_attention_heads": 4}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2}
MOE = {"num_experts_per_tok": 2, **GROUPED}
CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("llama", GROUPED),
    ("llama", {**GROUPED, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    ("llama", {**SMALL, "head_dim": 32}),
    ("mistral", GROUPED),
    ("mixtral", {**MOE, "num_local_experts": 4}),
    ("qwen2", GROUPED),
    ("qwen3", GROUPED),
    ("qwen3", {**GROUPED, "head_dim": 16, "tie_word_embeddings": True}),
    ("qwen3_moe", {**MOE, "num_experts": 4, "moe_intermediate_size": 32, "head_dim": 16}),
    ("qwen3_moe", {**MOE, "num_experts": 4, "moe_intermediate_size": 32, "mlp_only_layers": [1]}),
    ("gemma", GROUPED),
    ("gemma2", GROUPED),
    ("gemma3_text", {**GROUPED, "head_dim": 32}),
    ("phi", SMALL),
    ("phi", GROUPED),
    ("phi3", {**GROUPED, "pad_token_id": 0}),
    ("smollm3", {**GROUPED, "pad_token_id": 0}),
    ("gpt_neox", SMALL),
    ("gpt2", {"vocab_size": 500, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 50}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "sizes"), CONFIGS, ids=lambda one: one if isinstance(one, str) else ""
)
def test_the_count_is_that_of_the_model(kind: str, sizes: dict[str, Any]) -> None:
    config = transformers.AutoConfig.for_model(kind, **sizes)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    found = parameters_of({**sizes, "model_type": kind})  # as a config.json that states no defaults
    assert found is not None
    assert found.total == model.num_parameters()
    inner = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    matrices = {id(inner): inner.numel(), id(head): head.numel()}
    positions = sizes["n_positions"] * sizes["n_embd"] if kind == "gpt2" else 0
    assert found.embedding == sum(matrices.values()) + positions


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        # The dimensions of the models' own config.json, and the sizes that their makers state.
        ({"model_type": "phi", "vocab_size": 51200, "hidden_size": 2560, "intermediate_size": 10240,
          "num_hidden_layers": 32, "num_attention_heads": 32}, 2.78),
        ({"model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096,
          "num_hidden_layers": 32, "intermediate_size": 14336, "num_attention_heads": 32,
          "num_key_value_heads": 8}, 7.24),
        ({"model_type": "gemma2", "vocab_size": 256000, "hidden_size": 3584, "head_dim": 256,
          "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16,
          "num_key_value_heads": 8}, 9.24),
        ({"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "num_hidden_layers": 32,
          "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8}, 8.03),
        ({"model_type": "mixtral", "vocab_size": 32000, "hidden_size": 4096, "num_local_experts": 8,
          "num_hidden_layers": 32, "intermediate_size": 14336, "num_attention_heads": 32,
          "num_key_value_heads": 8}, 46.7),
    ],
)  # fmt: skip
def test_well_known_models(config: dict[str, Any], billions: float) -> None:
    found = parameters_of(config)
    assert found is not None and round(found.total / 1e9, 2) == pytest.approx(billions, abs=0.005)


@pytest.mark.parametrize(
    "config",
    [{}, {"model_type": "unheard-of"}, {"model_type": "llama"}, {"model_type": ["llama"]},
     {**SMALL, "model_type": "llama", "hidden_size": "wide"}, {"text_config": SMALL},
     {**SMALL, "model_type": "phi", "num_attention_heads": 0}],
)  # fmt: skip
def test_what_cannot_be_told_is_not_guessed(config: dict[str, Any]) -> None:
    assert parameters_of(config) is None
