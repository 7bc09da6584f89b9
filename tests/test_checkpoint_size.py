"""Sizes read from safetensors headers, against tensors that were really saved."""

import json
from pathlib import Path

import pytest

from evalkit import checkpoint_size as size
from evalkit.errors import PrerequisiteError, RecipeError

torch = pytest.importorskip("torch")


def save(folder: Path, tensors: dict[str, object], config: dict[str, object]) -> Path:
    """A checkpoint folder with these tensors, in two shards."""
    from safetensors.torch import save_file

    names = sorted(tensors)
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in part}, folder / f"model-{number}.safetensors")
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def test_a_plain_checkpoint_counts_matrices_but_embeddings_head_and_biases(tmp_path: Path) -> None:
    folder = save(
        tmp_path,
        {
            "model.embed_tokens.weight": torch.zeros(10, 128),
            "model.layers.0.self_attn.q_proj.weight": torch.zeros(64, 128),
            "model.layers.0.self_attn.q_proj.bias": torch.zeros(64),
            "model.layers.0.input_layernorm.weight": torch.zeros(128),
            "lm_head.weight": torch.zeros(10, 128),
        },
        {},
    )
    assert size.linear_parameters(folder) == 64 * 128
    assert size.linear_bytes(folder) == 64 * 128 * 4
    assert size.linear_ratio(folder) == 2.0  # float32 against bfloat16
    assert size.parameters(folder) == 2 * 10 * 128 + 64 * 128 + 64 + 128
    assert size.checkpoint_bytes(folder) == sum(
        file.stat().st_size for file in tmp_path.glob("*.safetensors")
    )


def test_packed_weights_count_unpacked_and_their_scales_count_as_bytes(tmp_path: Path) -> None:
    group = {"weights": {"num_bits": 4}}
    layer = "model.layers.0.mlp.up_proj"
    folder = save(
        tmp_path,
        {
            f"{layer}.weight_packed": torch.zeros(64, 16, dtype=torch.int32),
            f"{layer}.weight_scale": torch.zeros(64, 1, dtype=torch.bfloat16),
            f"{layer}.weight_shape": torch.zeros(2, dtype=torch.int64),
        },
        {"quantization_config": {"config_groups": {"group_0": group}}},
    )
    assert size.parameters(folder) == size.linear_parameters(folder) == 64 * 128
    assert size.linear_bytes(folder) == 64 * 16 * 4 + 64 * 2 + 16


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    for content in (b"", b"\xff" * 8, (50).to_bytes(8, "little") + b'{"a": '):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(RecipeError, match=r"model\.safetensors"):
            size.tensors(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    for read in (size.checkpoint_bytes, size.linear_bytes):
        with pytest.raises(PrerequisiteError):
            read(tmp_path)
