"""How large a checkpoint is on disk, read from safetensors headers without torch.

The linear layers are what a scheme shrinks: every matrix but the embeddings and
the head. At small sizes the embeddings, which stay bfloat16, dominate the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.loading import WEIGHT_PATTERNS, config_of

BFLOAT16_BYTES = 2
_KEPT = ("embed", "lm_head", "wte", "wpe")
_STORED = ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx")
_MAX_HEADER_BYTES = 100_000_000


class StoredTensor(NamedTuple):
    """One entry of a safetensors header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


def checkpoint_bytes(folder: str | Path) -> int:
    """Bytes of the weight files of a checkpoint folder: safetensors, or where it has none, .bin.

    Raises:
        PrerequisiteError: the folder holds no weights.
    """
    kinds = [list(Path(folder).glob(pattern)) for pattern in WEIGHT_PATTERNS]
    files = next((files for files in kinds if files), [])
    if not files:
        raise PrerequisiteError(f"{folder} holds no weight files")
    return sum(file.stat().st_size for file in files)


def linear_bytes(folder: str | Path) -> int:
    """Bytes of the linear layers' weights as stored, scales included, biases not."""
    return sum(tensor.size_bytes for tensor in tensors(folder) if is_linear(tensor))


def linear_parameters(folder: str | Path) -> int:
    """How many weights the linear layers have, unpacked."""
    per_word = _values_per_word(folder)
    return sum(_values(t, per_word) for t in tensors(folder) if is_linear(t))


def linear_ratio(folder: str | Path) -> float:
    """Stored size of the linear layers over their size in bfloat16 (4-bit 0.26, FP8 0.51)."""
    return linear_bytes(folder) / (linear_parameters(folder) * BFLOAT16_BYTES)


def parameters(folder: str | Path) -> int:
    """How many parameters the checkpoint has, unpacked; scales are not parameters."""
    per_word = _values_per_word(folder)
    return sum(_values(tensor, per_word) for tensor in tensors(folder))


def tensors(folder: str | Path) -> list[StoredTensor]:
    """Every tensor in the safetensors files of a checkpoint folder, in file and name order.

    Raises:
        PrerequisiteError: there are no safetensors files.
        RecipeError: one of them is damaged.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise PrerequisiteError(
            f"{folder} holds no safetensors files", "save the checkpoint with save_pretrained"
        )
    return [tensor for file in files for tensor in _header(file)]


def _header(file: Path) -> Iterator[StoredTensor]:
    # Source: the format section of the safetensors README: 8 bytes of little-endian
    # length, then that many bytes of JSON.
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if length <= _MAX_HEADER_BYTES else b""
    try:
        entries: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise RecipeError(f"{file} is not a complete safetensors file") from error
    for name, entry in sorted(entries.items()):
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            yield StoredTensor(name, entry["dtype"], tuple(entry["shape"]), end - start)


def is_linear(tensor: StoredTensor) -> bool:
    """Whether a tensor is, or belongs to, a linear layer's weight that schemes quantize."""
    module, _, part = tensor.name.rpartition(".")
    if any(word in module for word in _KEPT):
        return False
    return part in _STORED or (part == "weight" and len(tensor.shape) == 2)


def _values(tensor: StoredTensor, per_word: int) -> int:
    part = tensor.name.rpartition(".")[2]
    if part == "weight_packed":
        return math.prod(tensor.shape) * per_word
    return 0 if part in _STORED else math.prod(tensor.shape)


def _values_per_word(folder: str | Path) -> int:
    groups = config_of(folder).get("quantization_config", {}).get("config_groups", {})
    bits = [group["weights"]["num_bits"] for group in groups.values() if group.get("weights")]
    return 32 // bits[0] if bits else 1
