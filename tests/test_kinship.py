"""Judge and judged of one kind: told from weights, from cards and from names, and never made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from vllm_parts import disturbed

from evalkit.pipeline import kinship
from evalkit.pipeline.kinship import kin, of_folder, of_name
from evalkit.recipe import Recipe


@pytest.mark.parametrize(
    ("judge", "judged", "base"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "me/x/Qwen2.5-7B", "qwen2.5-7b"),
        ("gpt-4o-2024-08-06", "gpt-4o", "gpt-4o"),
        ("UCLA-AGI/Gemma-2-9B-It-SPPO", "google/gemma-2-9b-it", "gemma-2-9b"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "Meta-Llama-3-8B-Instruct-W4A16",
         "meta-llama-3-8b"),
    ],
)  # fmt: skip
def test_names_of_one_base(judge: str, judged: str, base: str) -> None:
    assert kin(of_name(judge), of_name(judged)).endswith(f"share the base {base}")


@pytest.mark.parametrize(
    ("judge", "judged"),
    [
        ("Qwen/Qwen2.5-72B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("gpt-4", "gpt-4o"),
        ("google/gemma-2-9b-it", "google/gemma-7b-it"),
        ("", ""),
    ],
)
def test_names_of_different_ones(judge: str, judged: str) -> None:
    assert kin(of_name(judge), of_name(judged)) == ""


def test_weights_cards_and_shapes(tiny_llama: Path, tmp_path: Path) -> None:
    copy = tmp_path / "renamed"
    shutil.copytree(tiny_llama, copy)
    assert "the same weights" in kin(of_folder(copy), of_folder(tiny_llama))
    other = disturbed(tiny_llama, tmp_path / "trained")
    assert "one architecture in one size" in kin(of_folder(other), of_folder(tiny_llama))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert kin(of_folder(other), of_folder(tiny_llama)) == ""
    (other / "README.md").write_text("---\nbase_model: [org/Some-Root-7B]\n---\nA card.\n")
    assert kin(of_folder(other), of_name("org/Some-Root-7B-Instruct")).endswith("some-root-7b")


def _recipe(base: str, **evaluation: object) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "x",
            "base": {"model": base},
            "evaluation": evaluation,
            "card": {"title": "x", "license": "mit"},
        }
    )


def test_a_recipe_is_warned_of(tiny_llama: Path, tmp_path: Path) -> None:
    """A served judge by its weights, one of an API by its name; a rule is nobody's kin."""
    copy = tmp_path / "judge"
    shutil.copytree(tiny_llama, copy)
    served = {"name": "llm", "serve": str(copy)}
    (found,) = kinship.warnings(_recipe(str(tiny_llama), judge=served))
    assert found.startswith("evaluation.judge: the judge and the judged model have the same")
    by_name = {"name": "llm", "model": "gemma-2-9b-it"}
    assert len(kinship.warnings(_recipe("google/gemma-2-9b", judge=by_name))) == 1
    assert kinship.warnings(_recipe(str(tiny_llama), judge=by_name)) == []
    assert kinship.warnings(_recipe(str(tiny_llama), judge="rule")) == []
    assert kinship.warnings(_recipe(str(tiny_llama), judge="no_such_judge")) == []
