"""An iteration against the checkpoint before it: who answers, who judges, what a gate decides."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from recipe_worlds import evalkit

from evalkit.console import no_progress
from evalkit.pipeline import gating, head_to_head
from evalkit.pipeline.groups import read_groups, write_groups
from evalkit.pipeline.layout import iterations
from evalkit.pipeline.plan import make_plan
from evalkit.pipeline.step import RunOptions, Step, StepContext
from evalkit.recipe import Recipe
from evalkit.records import Message, Prompt, PromptGroup, Response
from evalkit.rundir import Receipt, RunDir
from evalkit.stats import mean_interval

MICRO = Path(__file__).parent / "recipes" / "micro.yaml"
TAU = 0.5  # of the rule judge: a right answer beats a wrong one by 1 / TAU nats


def _recipe(**changes: Any) -> Recipe:
    data = yaml.safe_load(MICRO.read_text())
    data["stages"][0] |= changes
    return Recipe.model_validate(data)


def _steps(recipe: Recipe) -> Mapping[str, Step]:
    plan = make_plan(recipe, "train").by_name
    return {name: step for name, step in plan.items() if "held" in name or "head" in name}


# --- what is planned --------------------------------------------------------------------------


def test_the_parent_answers_once() -> None:
    steps = _steps(_recipe())
    assert steps["iter1-held-out"].needs == ("iter1-train", "base")
    assert steps["iter2-held-out"].needs == ("iter2-train", "iter1-held-out")
    assert steps["iter2-head-to-head"].needs == ("iter2-held-out",)
    changed = _recipe(per_iteration=[{}, {"sampling": {"temperature": 0.5}}])
    assert _steps(changed)["iter2-held-out"].needs == ("iter2-train", "iter1-train")


def test_who_judges() -> None:
    assert list(_steps(_recipe(head_to_head={"prompts": 0}))) == []
    spin = {"method": "spin", "judge": None}
    assert list(_steps(_recipe(**spin))) == []
    other = {"prompts": 4, "other_judge": {"name": "rule", "temperature": TAU}}
    names = list(_steps(_recipe(**spin, head_to_head=other)))
    assert names == [
        "iter1-held-out", "iter1-head-to-head-other", "iter2-held-out", "iter2-head-to-head-other",
    ]  # fmt: skip
    assert len(_steps(_recipe(head_to_head=other))) == 6


def test_the_prompts_are_those_that_iterations_come_to_last() -> None:
    recipe = _recipe(head_to_head={"prompts": 60})
    first, second = iterations(recipe)
    prompts = head_to_head.prompts_of(recipe, first)
    assert len(prompts) == 60 and prompts == head_to_head.prompts_of(recipe, second)
    seen = [sum(p.messages in head_to_head._seen(recipe, slot) for p in prompts)
            for slot in (first, second)]  # fmt: skip
    assert seen == [12, 60]  # of 96 in two parts of 48: the last twelve of the first part


# --- what is found ----------------------------------------------------------------------------


def _context(tmp_path: Path, recipe: Recipe, *pairs: tuple[str, str]) -> StepContext:
    """A run in which iteration and parent have answered so; the right answer is `yes`."""
    run = RunDir(tmp_path / "run")
    rule = {"kind": "exact", "answer": "yes"}
    groups = [
        PromptGroup(
            Prompt(f"p{number}", (Message("user", "?"),), rule=rule),
            (1,),
            tuple(Response(text, (2,), "stop") for text in pair),
        )
        for number, pair in enumerate(pairs)
    ]
    for name, result in (
        ("iter1-train", {"digest": "d", "precision": "float32"}),
        ("iter1-held-out", {"digest": "g", "seen": 0}),
    ):
        folder = run.begin(name, "0")
        if name.endswith("held-out"):
            write_groups(folder, groups)
        run.finish(name, Receipt(name, "0", {"settings": {}, "needs": {}}, result))
    folder = run.begin("iter1-head-to-head", "0")
    return StepContext(recipe, run, folder, RunOptions(tmp_path), no_progress)


def test_the_win_rate_is_the_mean_probability_of_the_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = _recipe(
        judge={"name": "rule", "temperature": TAU}, gate={"metric": head_to_head.METRIC}
    )
    pairs = [("yes", "no")] * 4 + [("no", "yes")] + [("maybe", "no")] + [("yes", "yes")]
    context = _context(tmp_path, recipe, *pairs)
    found = dict(make_plan(recipe, "train").by_name["iter1-head-to-head"].work(context))
    p = 100 / (1 + math.exp(-1 / TAU))
    values = [p] * 4 + [100 - p] + [50.0] * 2  # equal answers are half a win
    interval = mean_interval(values)
    assert found[head_to_head.METRIC] == pytest.approx(sum(values) / 7)
    assert found["ci_low"] == pytest.approx(interval.low)
    assert (found["n"], found["missing"], found["ties"]) == (7, 0, 2)
    assert f"iter1 wins {sum(values) / 7:.1f} % [" in capsys.readouterr().err

    context.run.finish(
        "iter1-head-to-head", Receipt("iter1-head-to-head", "0", {"needs": {}}, {"digest": "x"})
    )
    decided = make_plan(recipe, "train").by_name["iter1-gate"].work(context)
    [comparison] = decided["comparisons"]
    assert comparison["difference"] == pytest.approx(sum(values) / 7 - 50)
    assert (comparison["task"], comparison["n"]) == ("head_to_head", 7)
    assert decided["outcome"] == gating.SAME


@pytest.mark.parametrize(("answer", "outcome"), [("yes", "better"), ("no", "worse")])
def test_a_gate_decides_by_it(tmp_path: Path, answer: str, outcome: str) -> None:
    recipe = _recipe(gate={"metric": head_to_head.METRIC, "action": "stop"})
    parent = "no" if answer == "yes" else "yes"
    pairs = [(answer, parent)] * 9 + [("x", "y")] * 3
    context = _context(tmp_path, recipe, *pairs)
    plan = make_plan(recipe, "train").by_name
    plan["iter1-head-to-head"].work(context)
    receipt = Receipt("iter1-head-to-head", "0", {"needs": {}}, {"digest": "x"})
    context.run.finish("iter1-head-to-head", receipt)
    decided = plan["iter1-gate"].work(context)
    assert decided["outcome"] == outcome
    assert (plan["iter1-gate"].halt(decided) is None) == (outcome == "better")
    assert plan["iter1-gate"].needs == ("iter1-head-to-head",)
    assert plan["iter2-responses"].after == ("iter1-gate",)


@pytest.mark.slow
def test_in_a_real_run(
    pocket_base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = yaml.safe_load(MICRO.read_text())
    data["base"] = {"model": str(pocket_base)}
    data["stages"][0] |= {
        "prompts_per_iteration": 8,
        "prompts": {"name": "pocket", "split": "self_play", "count": 24},
        "head_to_head": {"prompts": 12, "other_judge": {"name": "rule", "temperature": TAU}},
        "gate": {"metric": head_to_head.METRIC},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    run = RunDir(tmp_path / "run")
    assert evalkit("train", str(file), "--out", str(run.path)) == 0
    said = capfd.readouterr().err
    assert "iter2 wins" in said and "4 of which the stage was trained on" in said
    answers, before = (
        read_groups(run.folder(name)) for name in ("iter2-held-out", "iter1-held-out")
    )
    assert [one.responses[1] for one in answers] == [one.responses[0] for one in before]
    facts = {name: run.receipt(name).result for name in run.finished() if "head-to" in name}  # type: ignore[union-attr]
    assert len(facts) == 4
    for name in ("iter1", "iter2"):
        training, other = (facts[f"{name}-head-to-head{suffix}"] for suffix in ("", "-other"))
        wins = training[head_to_head.METRIC] - 50, other[head_to_head.METRIC] - 50
        assert wins[0] * wins[1] >= 0 and abs(wins[0]) >= abs(wins[1])  # the other one is less sure
    comparisons = run.receipt("iter2-gate").result["comparisons"]  # type: ignore[union-attr]
    assert {one["task"] for one in comparisons} == {"head_to_head", "head_to_head_other"}
