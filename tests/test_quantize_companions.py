"""The files beside the weights: which travel, and what they must not tell."""

import json
from pathlib import Path

from evalkit.quantize.companions import carry_over


def folders(tmp_path: Path) -> tuple[Path, Path]:
    """An empty parent and an empty variant."""
    for name in ("parent", "variant"):
        (tmp_path / name).mkdir()
    return tmp_path / "parent", tmp_path / "variant"


def test_tokenizer_template_and_licence_travel_and_nothing_else(tmp_path: Path) -> None:
    parent, variant = folders(tmp_path)
    wanted = {"tokenizer.json", "tokenizer.model", "spiece.model", "qwen.tiktoken"}
    wanted |= {"chat_template.jinja", "LICENSE", "LICENCE.md", "NOTICE.txt"}
    for name in (
        *wanted,
        "model.safetensors",
        "optimizer.pt",
        "trainer_state.json",
        "README.md",
        "vocab.bin",
    ):
        (parent / name).write_bytes(name.encode())
    (parent / "additional_chat_templates").mkdir()
    (parent / "additional_chat_templates" / "tool.jinja").write_text("{{ x }}", "utf-8")
    carry_over(parent, variant)
    assert {file.name for file in variant.iterdir()} == wanted | {"additional_chat_templates"}
    assert (variant / "tokenizer.model").read_bytes() == b"tokenizer.model"
    template = variant / "additional_chat_templates" / "tool.jinja"
    assert template.read_text("utf-8") == "{{ x }}"


def test_paths_that_transformers_notes_are_dropped(tmp_path: Path) -> None:
    parent, variant = folders(tmp_path)
    noted = {"name_or_path": "/home/someone/run", "eos_token": "é"}
    (parent / "tokenizer_config.json").write_text(json.dumps(noted), "utf-8")
    (variant / "config.json").write_text('{"_name_or_path": "/home/x", "a": 1}', "utf-8")
    carry_over(parent, variant)
    assert json.loads((variant / "config.json").read_text("utf-8")) == {"a": 1}
    tokenizer = (variant / "tokenizer_config.json").read_text("utf-8")
    assert json.loads(tokenizer) == {"eos_token": "é"}


def test_files_without_such_keys_stay_as_they_are(tmp_path: Path) -> None:
    parent, variant = folders(tmp_path)
    (parent / "tokenizer_config.json").write_text('{"a":1}', "utf-8")
    carry_over(parent, variant)
    assert (variant / "tokenizer_config.json").read_text("utf-8") == '{"a":1}'
