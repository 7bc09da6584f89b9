"""What an iteration starts from: checkpoint, adapter, optimizer; and a whole run of all three."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from tiny_models import tiny_model
from transformers import AutoTokenizer

from evalkit.pipeline import launch_checks, launching, succession, training
from evalkit.pipeline.layout import iterations
from evalkit.pipeline.step import Launch
from evalkit.pipeline.succession import Succession
from evalkit.recipe import Recipe
from evalkit.recipe_file import read_recipe
from evalkit.rendering import PLAIN_TEMPLATE
from evalkit.trainers.adapters import adapter_digest

FROZEN = {"adapter": {"rank": 4, "previous": "frozen"}}


def recipe(*settings: dict[str, Any], name: str = "spin", before: bool = False) -> Recipe:
    """A family of one stage with an iteration for each of the training settings."""
    prompts = {"name": "pocket", "split": "self_play", "count": 8}
    stage = {
        "method": name,
        "prompts": prompts,
        "reuse_prompts": True,
        "iterations": len(settings),
        "training": settings[0],
        "per_iteration": [{"training": one} for one in settings],
    }
    stages = [{"method": "sft", "prompts": prompts}, stage] if before else [stage]
    rest = {"name": "x", "base": {"model": "m"}, "card": {"title": "t", "license": "mit"}}
    return Recipe.model_validate({**rest, "stages": stages})


def successions(subject: Recipe) -> list[Succession]:
    return [succession.succession(subject, slot) for slot in iterations(subject)]


def test_each_iteration_starts_from_the_checkpoint_before() -> None:
    merged = {"adapter": {"rank": 4}}
    for settings in ({}, merged):
        assert successions(recipe(settings, settings)) == [Succession("base"), Succession("iter1")]


def test_an_adapter_goes_on_around_the_weights_that_its_first_iteration_started_from() -> None:
    subject = recipe(FROZEN, FROZEN, FROZEN, before=True)
    assert successions(subject)[1:] == [
        Succession("sft"),
        Succession("sft", adapter="iter1"),
        Succession("sft", adapter="iter2"),
    ]
    last = training.step(subject, iterations(subject)[-1])
    assert {"sft-train", "iter2-train"} <= set(last.needs)


def test_the_optimizers_state_follows_where_it_is_kept() -> None:
    kept = {"optimizer_state": "kept"}
    assert [one.optimizer for one in successions(recipe(kept, kept, kept))] == [
        None, "iter1", "iter2",
    ]  # fmt: skip
    fresh = recipe(kept, {"optimizer_state": "fresh"}, {"optimizer_state": "fresh"})
    assert [one.optimizer for one in successions(fresh)] == [None, None, None]


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (FROZEN, {"adapter": {"rank": 4, "alpha": 7}}, "its adapter has alpha 32.0, not 7.0"),
        ({"optimizer_state": "fresh"}, {"optimizer_state": "kept"}, "does not keep"),
        (
            {"optimizer_state": "kept"},
            {"optimizer": "adafactor"},
            "its optimizer is rmsprop, not adafactor",
        ),
        ({"optimizer_state": "kept"}, FROZEN, "only one of them trains an adapter"),
        (FROZEN, {"learning_rate": 1e-5}, ""),
    ],
)
def test_what_cannot_be_taken_over_is_told_before_any_work(
    first: dict[str, Any], second: dict[str, Any], told: str
) -> None:
    found = list(succession.problems(recipe(first, second).stages[0]))
    assert len(found) == bool(told)
    assert all(told in problem.message and "iteration 2" in problem.message for problem in found)


def test_a_layout_that_is_not_exact_is_told_from_the_config_alone(tmp_path: Path) -> None:
    for name, exact in (("llama", True), ("gpt_neox", False)):
        tiny_model(name).config.save_pretrained(tmp_path / name)
        for layout in ("tree", "cache", "packed", "padded"):
            subject = recipe({"layout": "auto"}, {"layout": layout})
            told = [
                (problem.where, "is not exact for this model" in problem.message)
                for problem in succession.model_problems(subject, tmp_path / name)
            ]
            fine = exact or layout == "padded"
            assert told == ([] if fine else [("stages.0.training.layout", True)]), (name, layout)


def test_what_deepspeed_cannot_do_is_told(tmp_path: Path) -> None:
    text = (runs.RECIPES / "micro.yaml").read_text()
    more = """training:
      optimizer_state: kept
      adapter: {base_precision: nf4, previous: frozen}"""
    (tmp_path / "mine.yaml").write_text(text.replace("training:", more))
    launch = launching.find_launch("deepspeed_zero3", 1)
    found = list(launch_checks.check(launch, read_recipe(tmp_path / "mine.yaml")))
    keys = {
        problem.where.split("  ")[1] for problem in found if "form of its own" in problem.message
    }
    assert keys == {
        "stages.0.training.optimizer_state", "stages.0.training.adapter.base_precision",
    }  # fmt: skip
    fsdp = Launch(launching.find_launch("fsdp2", 1).config, 1)
    assert not list(launch_checks.check(fsdp, read_recipe(tmp_path / "mine.yaml")))


RECIPE = """
name: Micro-LoRA
base: {model: base}
stages:
  - method: spin
    iterations: 2
    prompts: {name: pocket, split: self_play, count: 16}
    reuse_prompts: true
    sampling: {temperature: 1.0, max_new_tokens: 8}
    training:
      optimizer: adamw_torch
      optimizer_state: kept
      learning_rate: 2.0e-3
      batch_size: 8
      adapter: {rank: 4, alpha: 8, previous: frozen}
card: {title: Micro-LoRA, license: apache-2.0}
"""


@pytest.mark.slow
def test_two_iterations_of_lora_from_a_base_without_a_template(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoints carry the template they were trained with, its cards the adapter."""
    shutil.copytree(tiny_llama, tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    (tmp_path / "mine.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    runs.finish(tmp_path / "mine.yaml", tmp_path, "--until", "cards")
    steps = tmp_path / "run" / "steps"
    assert AutoTokenizer.from_pretrained(tmp_path / "base").chat_template is None
    last = steps / "iter2-train"
    assert AutoTokenizer.from_pretrained(last / "checkpoint").chat_template == PLAIN_TEMPLATE
    assert {path.name for path in last.iterdir()} >= {"adapter", "optimizer.pt", "metrics.jsonl"}
    assert not (last / "checkpoint" / "adapter").exists()
    config = json.loads((last / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"
    assert json.loads((last / "receipt.json").read_text())["result"]["facts"][
        "trainable_parameters"
    ] == sum(tensor.numel() for tensor in _adapter(last).values())
    # It went on with the adapter of iteration 1, whose draw was another, and starts from it.
    one, two = (_adapter(steps / name) for name in ("iter1-train", "iter2-train"))
    assert all(
        torch.cosine_similarity(one[name].flatten(), two[name].flatten(), dim=0) > 0.95
        for name in one
        if "lora_A" in name
    )
    assert any(not two[name].equal(one[name]) for name in one)
    first_line = json.loads((last / "metrics.jsonl").read_text().splitlines()[0])
    assert abs(first_line["margin_nats"]) < 1e-4
    manifest = json.loads((tmp_path / "run" / "lineage.json").read_text())["checkpoints"]
    base, *trained = manifest
    assert [one["reference"] == one["start"] for one in trained] == [True, True]
    around = {"checkpoint": "base", "digest": base["digest"], "base_precision": "float32"}
    digest = adapter_digest(steps / "iter1-train" / "adapter")
    assert trained[0]["reference"] == around
    assert trained[1]["reference"] == around | {"adapter": {"iteration": "iter1", "digest": digest}}
    assert trained[1]["parent"] == "iter1"
    card = next((steps / "cards").glob("*Iter2/README.md")).read_text()
    for row in ("adapter, rank | 4", "adapter, base precision | float32", "previous | frozen"):
        assert row in card
    assert "trainable parameters: 16,384" in card


def _adapter(step: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(step / "adapter" / "adapter_model.safetensors")
