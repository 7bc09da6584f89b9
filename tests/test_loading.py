"""Checkpoint folders: what is refused with a hint, and what their digests notice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit import loading
from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.loading import check_folder, load_model, quick_state, stored_dtype, weights_digest


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint that a test may spoil."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def drop_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def spoil_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type"')


def flatten_config(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")


def drop_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def drop_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lose_a_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


SPOILED: list[tuple[Callable[[Path], None], str]] = [
    (cut_weights, "cut off"),
    (empty_weights, "cut off"),
    (drop_tokenizer, "no tokenizer"),
    (spoil_config, "not JSON"),
    (flatten_config, "not a JSON object"),
    (drop_config, r"no config\.json"),
    (drop_weights, "no weights"),
    (pickle_weights, "no weights in safetensors"),
    (lose_a_shard, r"lacks model-2\.safetensors"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_check_folder_refuses(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    check_folder(folder)
    spoil(folder)
    with pytest.raises(RecipeError, match=message) as caught:
        check_folder(folder)
    assert caught.value.hint


def test_a_base_in_another_format_is_told_how_to_convert(folder: Path) -> None:
    pickle_weights(folder)
    with pytest.raises(RecipeError) as caught:
        check_folder(folder)
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize(
    "spoil",
    [cut_weights, empty_weights, drop_tokenizer, spoil_config, flatten_config, drop_weights],
)
def test_load_model_refuses(folder: Path, spoil: Callable[[Path], None]) -> None:
    spoil(folder)
    with pytest.raises(RecipeError) as caught:
        load_model(folder)
    assert caught.value.hint


def test_checking_and_digesting_need_no_torch(tiny_llama: Path) -> None:
    code = (
        "import sys; from evalkit import loading as l; f = sys.argv[1];"
        "l.check_folder(f); l.weights_digest(f); l.quick_state(f); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tiny_llama)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
        "tokenizer.model",
    ],
)
def test_digest_and_state_notice_every_file_that_decides(folder: Path, name: str) -> None:
    file = folder / name
    file.touch()
    digest, state = weights_digest(folder), quick_state(folder)
    assert (weights_digest(folder), quick_state(folder)) == (digest, state)
    file.write_bytes(file.read_bytes() + b" ")
    assert weights_digest(folder) != digest
    assert quick_state(folder) != state


def test_digest_is_of_contents_and_the_state_of_times(folder: Path) -> None:
    digest, state = weights_digest(folder), quick_state(folder)
    os.utime(folder / "model.safetensors", (1, 1))
    assert weights_digest(folder) == digest
    assert quick_state(folder) != state
    (folder / "README.md").write_text("a card decides nothing")
    assert weights_digest(folder) == digest


def test_pickled_weights_count_only_where_there_are_no_others(folder: Path) -> None:
    digest = weights_digest(folder)
    (folder / "pytorch_model.bin").write_bytes(b"an older copy")
    assert weights_digest(folder) == digest
    drop_weights(folder)
    assert weights_digest(folder) != digest
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(PrerequisiteError, match="no weight files"):
        weights_digest(folder)


def test_an_unchanged_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digest_of = loading.file_digest

    def watched(file: Path) -> str:
        read.append(file.name)
        return digest_of(file)

    monkeypatch.setattr(loading, "file_digest", watched)
    first = weights_digest(folder)
    count = len(read)
    assert "model.safetensors" in read
    assert weights_digest(folder) == first
    assert len(read) == count
    os.utime(folder / "model.safetensors", (1, 1))
    assert weights_digest(folder) == first
    assert read[count:] == ["model.safetensors"]


def test_stored_dtype_of_either_spelling() -> None:
    assert stored_dtype({"dtype": "bfloat16"}) == "bfloat16"
    assert stored_dtype({"torch_dtype": "float16"}) == "float16"
    assert stored_dtype({"dtype": None}) == "float32"
