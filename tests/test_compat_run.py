"""Runs judged by a reward model, and with `compat: released`: receipts, ids, what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import reward_model_parts as parts
import yaml
from recipe_bases import write_base
from recipe_worlds import evalkit

from evalkit.pipeline.groups import read_groups
from evalkit.records import PromptGroup
from evalkit.rundir import RunDir

RIVERS = ("Rhine", "Elbe", "Loire", "Danube")


def write_recipe(folder: Path, base: Path, stage: dict[str, Any], **more: Any) -> Path:
    rows = [{"prompt": f"Where is the {river}?", "response": f"By {river}."} for river in RIVERS]
    data = folder / "prompts.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "Compat",
        "base": {"model": str(base), **more},
        "stages": [
            {
                "prompts": {"name": "file", "path": str(data)},
                "sampling": {"max_new_tokens": 6},
                "training": {"batch_size": 2, "max_length": 64, "learning_rate": 1e-3},
                **stage,
            }
        ],
        "card": {"title": "Compat", "license": "mit"},
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return file


def groups_of(run: Path, step: str) -> list[PromptGroup]:
    return read_groups(RunDir(run).folder(step))


def result_of(run: Path, step: str) -> dict[str, Any]:
    receipt = RunDir(run).receipt(step)
    assert receipt is not None
    return dict(receipt.result)


def test_sppo_as_released_judged_by_a_reward_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_base("llama-3", tmp_path / "base")
    judge = {"name": "reward_model", "model": str(parts.write_reward_model(tmp_path / "judge"))}
    stage = {
        "method": {"name": "sppo", "samples": 3},
        "judge": judge,
        "compat": "released",
        "max_prompt_length": 16,
        "training": {"batch_size": 2, "max_length": 20, "learning_rate": 1e-3},
    }
    recipe, run = write_recipe(tmp_path, base, stage), tmp_path / "run"
    words = ("train", str(recipe), "--out", str(run))
    assert evalkit(*words, "--dry-run") == 0
    planned = capsys.readouterr().err
    assert "compat released (sppo) renders" in planned
    assert "[<|begin_of_text|>][<|begin_of_text|>]" in planned
    assert evalkit(*words) == 0
    assert "[<|begin_of_text|>][<|begin_of_text|>]" in capsys.readouterr().err
    bos, eos = 0, 4  # the base's first and fifth special tokens
    name = "iter1"
    for group in groups_of(run, f"{name}-judge"):
        assert group.prompt_token_ids[:2] == (bos, bos)
        assert group.prompt_token_ids[2:].count(bos) == 0
        for response in group.responses:
            assert response.token_ids[-2:] == (eos, eos)  # unfinished ones, too
    judged, trained = result_of(run, f"{name}-judge"), result_of(run, f"{name}-train")
    stats = judged["stats"]
    assert judged["judge"]["name"] == "reward_model"
    assert stats["verdicts"] == 4 * 6
    assert stats["missing"] == stats["cut_verdicts"] == stats["unjudged_prompts"] == 0
    assert stats["order_bias_abs"] == pytest.approx(0, abs=1e-6)
    assert stats["cyclic_triples"] == 0
    assert stats["win_prob_spread"] > 0
    assert stats["worst_win_prob"] < 0.5 < stats["best_win_prob"]
    assert trained["judging"] == stats
    assert trained["examples"] + sum(trained["dropped"].values()) == 4
    # Prompts keep 16 tokens; the 4 that are left hold no response with its header and two ends.
    assert trained["facts"]["prompts_cut"] == trained["examples"]
    assert trained["facts"]["truncated"] == 2 * trained["examples"]


def test_spin_as_released_needs_no_word_about_bos(tmp_path: Path) -> None:
    base = write_base("zephyr", tmp_path / "base")
    stage = {"method": "spin", "compat": "released", "max_prompt_length": 32}
    recipe, run = write_recipe(tmp_path, base, stage), tmp_path / "run"
    assert evalkit("train", str(recipe), "--out", str(run)) == 0
    for group in groups_of(run, "iter1-responses"):
        assert 0 not in group.prompt_token_ids  # no BOS
        for response in group.responses:
            assert response.token_ids[-3] == response.token_ids[-1] == 1  # </s>, a line break, </s>


def test_a_base_that_leaves_out_bos_must_be_declared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_base("zephyr", tmp_path / "base")
    recipe = write_recipe(tmp_path, base, {"method": "spin"})
    words = ("train", str(recipe), "--out", str(tmp_path / "run"), "--dry-run")
    assert evalkit(*words) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "recipe.yaml:3 base.model: a rendered prompt starts without BOS (<s>)" in said
    assert "add 'without_bos: true' to 'base'" in said
    write_recipe(tmp_path, base, {"method": "spin"}, without_bos=True)
    assert evalkit(*words) == 0
    said = capsys.readouterr().err
    assert "the chat template renders the first row of stages.0.prompts (row-1) so, with 0" in said
    assert "as text  '[<][|]" in said


def test_spin_as_released_refuses_several_turns_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_base("zephyr", tmp_path / "base")
    recipe = write_recipe(
        tmp_path, base, {"method": "spin", "compat": "released", "max_prompt_length": 32}
    )
    turn = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes."}]
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"messages": turn * 2}) + "\n")
    assert evalkit("train", str(recipe), "--out", str(tmp_path / "run"), "--dry-run") == 1
    assert "takes the first turn alone" in " ".join(capsys.readouterr().err.split())
