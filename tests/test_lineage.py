"""The lineage manifest: which data and which reference made each checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit.pipeline import lineage
from evalkit.recipe import Recipe
from evalkit.rundir import Receipt, RunDir

STAGE = {
    "method": "spin",
    "prompts": {"name": "pocket", "split": "self_play"},
    "iterations": 2,
    "reuse_prompts": True,
}
RECIPE = Recipe.model_validate(
    {
        "name": "x",
        "base": {"model": "/home/me/models/mine"},
        "stages": [STAGE],
        "card": {"title": "t", "license": "mit"},
    }
)


def _finish(run: RunDir, step: str, settings: Any, needs: dict[str, str], **result: Any) -> None:
    """A finished step as it lies in a run's folder."""
    run.begin(step, "0")
    asked = {name: {"digest": digest} for name, digest in needs.items()}
    run.finish(step, Receipt(step, "0", {"settings": settings, "needs": asked}, result))


def _finish_iteration(run: RunDir, name: str, parent: tuple[str, str], mix: list[str]) -> None:
    step, digest = parent
    prompts = {"name": "file", "options": {"path": "/home/me/a.jsonl"}}
    sampling = {"sampling": {"top_p": 1.0}, "engine": None, "seed": 3}
    gathered = {"prompts": prompts, "first_prompt": 0, **sampling}
    _finish(run, f"{name}-responses", gathered, {step: digest}, digest=f"groups of {name}",
            prompts=12, source={"name": "a.jsonl", "digest": "d" * 64})  # fmt: skip
    settings = {"method": {"name": "spin"}, "training": {"batch_size": 2}, "seed": 9}
    trained_on = [{"iteration": one, "prompts": 12, "digest": f"groups of {one}"} for one in mix]
    _finish(run, f"{name}-train", settings, {step: digest, f"{name}-responses": "g"},
            digest=f"weights of {name}", precision="float32", reference=step.removesuffix("-train"),
            trained_on=trained_on, examples=24, dropped={})  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    _finish(run, "base", {}, {}, digest="b", precision="float32", source="/home/me/models/mine")
    _finish_iteration(run, "iter1", ("base", "b"), ["iter1"])
    _finish_iteration(run, "iter2", ("iter1-train", "weights of iter1"), ["iter1", "iter2"])
    return run


def test_what_made_an_iteration_is_told(run: RunDir) -> None:
    _, first, second = lineage.manifest(RECIPE, run)["checkpoints"]
    assert first["reference"] == first["start"] == {"checkpoint": "base", "digest": "b"}
    assert second["reference"] == {"checkpoint": "iter1", "digest": "weights of iter1"}
    assert second["parent"] == "iter1"
    assert [part["iteration"] for part in second["trained_on"]] == ["iter1", "iter2"]
    assert second["trained_on"][0]["digest"] == first["responses"]["groups_digest"]
    assert second["responses"]["by"] == {"checkpoint": "iter1", "digest": "weights of iter1"}
    assert second["seed"] == 9


def test_a_frozen_adapter_belongs_to_the_reference_and_its_merged_checkpoint_does_not(
    run: RunDir,
) -> None:
    receipt = run.receipt("iter2-train")
    assert receipt is not None
    run.forget("iter2-train")
    adapter = {"iteration": "iter1", "digest": "a"}
    around = {"start": "base", "reference": "base", "base_precision": "nf4", "adapter": adapter}
    needs = {"iter1-train": "weights of iter1", "base": "b", "iter2-responses": "g"}
    _finish(run, "iter2-train", receipt.settings["settings"], needs, **receipt.result | around)
    told = lineage.manifest(RECIPE, run)
    second = told["checkpoints"][2]
    assert second["reference"] == second["start"] == {
        "checkpoint": "base", "digest": "b", "base_precision": "nf4", "adapter": adapter,
    }  # fmt: skip
    assert second["parent"] == "iter1"
    assert lineage.rows(told)[2][1:3] == ["iter1", "base with the adapter of iter1"]


def test_places_on_this_machine_are_left_out(run: RunDir) -> None:
    text = lineage.as_text(lineage.manifest(RECIPE, run))
    assert "/home/me" not in text
    assert "a.jsonl" in text and "mine" in text


def test_only_what_is_finished_is_told(run: RunDir) -> None:
    run.forget("iter2-train")
    names = [one["name"] for one in lineage.manifest(RECIPE, run)["checkpoints"]]
    assert names == ["base", "iter1"]


def test_a_card_gets_the_line_above_its_checkpoint(run: RunDir) -> None:
    whole = lineage.manifest(RECIPE, run)
    assert [one["name"] for one in lineage.of_line(whole, "iter1")["checkpoints"]] == [
        "base", "iter1",
    ]  # fmt: skip


def test_the_table_for_people(run: RunDir) -> None:
    lineage.write(RECIPE, run)
    _, first, second = lineage.rows(lineage.read(run))
    assert first[:5] == ["iter1", "base", "base", "spin", "1-12 of a.jsonl"]
    assert second[6] == "iter1, iter2"
    assert lineage.rows({"checkpoints": []}) == []


@pytest.mark.slow
def test_the_manifest_of_a_run_is_true_and_published(micro_run: Path) -> None:
    run = RunDir(micro_run / "run")
    whole = json.loads((run.path / "lineage.json").read_text())
    recipe = Recipe.model_validate(yaml.safe_load((run.path / "recipe.yaml").read_text()))
    assert whole == json.loads(lineage.as_text(lineage.manifest(recipe, run)))
    by_name = {one["name"]: one for one in whole["checkpoints"]}
    assert list(by_name) == ["base", "iter1", "iter2", "iter2-w4a16_gptq", "iter2-fp8_dynamic"]
    receipts = {name: run.receipt(name) for name in run.finished()}
    for name in ("iter1", "iter2"):
        told = by_name[name]
        trained, judged = receipts[f"{name}-train"], receipts[f"{name}-judge"]
        assert trained and judged
        assert told["digest"] == trained.result["digest"]
        assert told["reference"]["digest"] == by_name[told["parent"]]["digest"]
        assert told["trained_on"][0]["digest"] == judged.result["digest"]
        assert told["judging"]["stats"] == judged.result["stats"]
        assert told["gate"]["against"] == told["parent"]
    slices = [by_name[name]["prompts"] for name in ("iter1", "iter2")]
    assert [(one["first"], one["count"]) for one in slices] == [(0, 48), (48, 48)]
    published = json.loads((run.folder("publish") / "releases.json").read_text())
    assert all("lineage.json" in release["files"] for release in published)
    beside = json.loads((run.folder("cards") / "Micro-SPPO-Iter1" / "lineage.json").read_text())
    assert beside == lineage.of_line(whole, "iter1")
