"""The gate behind an iteration: what it says, what stops, and what goes on again."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from recipe_worlds import evalkit

from evalkit.errors import Problem
from evalkit.pipeline import evaluation, gating, plugins
from evalkit.pipeline.gating import Candidate
from evalkit.pipeline.layout import iterations
from evalkit.pipeline.plan import make_plan
from evalkit.recipe import Recipe
from evalkit.records import ResultSet, Sample, Score
from evalkit.rundir import RunDir
from evalkit.stats import comparable, holm_confidences

MICRO = Path(__file__).parent / "recipes" / "micro.yaml"


def _recipe(goal_file: Path = MICRO, **gate: Any) -> Recipe:
    data = yaml.safe_load(goal_file.read_text())
    data["stages"][0]["gate"] = gate
    return Recipe.model_validate(data)


def _results(name: str, task: str, values: list[float], **facts: Any) -> ResultSet:
    score = Score(task, "acc", float(np.mean(values)), len(values), "unit", **facts)
    samples = tuple(Sample(str(i), task, {"acc": value}) for i, value in enumerate(values))
    return ResultSet("suite", name, "0", (score,), {}, samples)


def _candidate(task: str, gains: list[float], **facts: Any) -> Candidate:
    """A new checkpoint that gains so much over an old one, item by item."""
    old = [0.1 * (i % 4) for i in range(len(gains))]
    new = [a + gain for a, gain in zip(old, gains, strict=True)]
    return Candidate(
        _results("old", task, old, **facts), _results("new", task, new, **facts), task, "acc"
    )


def _verdicts(*candidates: Candidate, level: float = 0.95) -> dict[str, str]:
    found = gating._judged(candidates, 0, level)
    return {comparison.task: verdict for comparison, _, verdict in found}


UP = [0.3, 0.2, 0.4, 0.1] * 6
DOWN = [-gain for gain in UP]
NOISE = [0.3, -0.3, 0.2, -0.2] * 6
# Its interval leaves out 0 alone (95 %), but not among twenty (99.75 %).
SLIGHT = [0.3, -0.1, 0.2, -0.15, 0.1, -0.1, 0.2, 0.05] * 3


# --- what is found ----------------------------------------------------------------------------


def test_holm_s_confidences() -> None:
    # Four tests at 5 % in all: 1/4, 1/3, 1/2 and all of it, from the smallest p-value on.
    assert holm_confidences([0.04, 0.001, 0.3, 0.02]) == pytest.approx(
        [1 - 0.05 / 2, 1 - 0.05 / 4, 1 - 0.05, 1 - 0.05 / 3]
    )
    assert holm_confidences([0.2], 0.9) == pytest.approx([0.9])
    assert holm_confidences([]) == []


@pytest.mark.parametrize(
    ("gains", "expected"),
    [(UP, "better"), (DOWN, "worse"), (NOISE, gating.SAME)],
)
def test_one_comparison_is_its_paired_interval(gains: list[float], expected: str) -> None:
    assert _verdicts(_candidate("t", gains)) == {"t": expected}


def test_less_may_be_better() -> None:
    assert _verdicts(_candidate("t", DOWN, higher_is_better=False)) == {"t": "better"}


def test_among_many_comparisons_a_slight_gain_is_none() -> None:
    assert _verdicts(_candidate("slight", SLIGHT)) == {"slight": "better"}
    crowd = [_candidate(f"noise{i}", NOISE) for i in range(19)]
    assert _verdicts(_candidate("slight", SLIGHT), *crowd)["slight"] == gating.SAME
    # A clear gain takes one test away from the others, and stays.
    assert _verdicts(_candidate("up", UP), *crowd)["up"] == "better"


def test_behind_the_first_that_is_not_significant_none_is() -> None:
    # The last of twenty is asked for 95 % alone, which each of them would pass.
    slight = [_candidate(f"slight{i}", SLIGHT) for i in range(20)]
    assert set(_verdicts(*slight).values()) == {gating.SAME}


def test_the_level_decides() -> None:
    assert _verdicts(_candidate("slight", SLIGHT), level=0.999) == {"slight": gating.SAME}


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "not compared"),
        ([gating.SAME, gating.SAME], gating.SAME),
        ([gating.SAME, "better"], "better"),
        (["better", "worse"], "worse"),
    ],
)
def test_the_outcome_of_several(verdicts: list[Any], expected: str) -> None:
    assert gating._outcome(verdicts) == expected


def test_another_metric_can_decide() -> None:
    scores = tuple(Score("t", metric, 1.0, 2, "unit") for metric in ("win_rate", "lc"))
    samples = tuple(Sample(str(i), "t", {"win_rate": 1.0, "lc": 1.0}) for i in range(2))
    result = ResultSet("suite", "new", "0", scores, {}, samples)
    assert comparable(result, result) == [("t", "win_rate")]
    assert comparable(result, result, "lc") == [("t", "lc")]
    assert comparable(result, result, "other") == []
    assert gating._metrics([(result, result)]) == ["lc", "win_rate"]


def _gate_problems(**gate: Any) -> list[Problem]:
    recipe = _recipe(**gate)
    return list(gating.check(recipe, recipe.stages[0]))


@pytest.mark.parametrize(
    ("gate", "nearest"),
    [
        ({"metric": "averge"}, "average"),
        ({"metric": "turn_3"}, "turn_2"),
        ({"metric": "acc_nrm"}, "acc_norm"),
        ({"metric": "win_rate", "benchmarks": ["mt_bench"]}, "win_rate_over_parent"),
    ],
)
def test_a_metric_that_none_can_have_is_told_before_the_run(
    gate: dict[str, Any], nearest: str
) -> None:
    [problem] = _gate_problems(**gate)
    assert problem.where == "gate.metric"
    assert f"'{gate['metric']}'" in problem.message
    assert f"did you mean '{nearest}'" in problem.hint


@pytest.mark.parametrize(
    "gate",
    [
        {},
        {"metric": "turn_2", "benchmarks": ["mt_bench"]},
        {"metric": "category_number"},
        {"metric": "acc_norm", "benchmarks": ["lm-eval-tasks"]},
        {"metric": "win_rate", "benchmarks": ["alpaca_eval"]},
        {"metric": "win_rate_over_parent", "action": "stop"},
    ],
)
def test_metrics_that_there_are(gate: dict[str, Any]) -> None:
    assert _gate_problems(**gate) == []


@pytest.mark.slow
def test_what_benchmarks_say_they_compare_by_is_what_they_compare_by(micro_run: Path) -> None:
    recipe, run = _recipe(), RunDir(micro_run / "run")
    for ref in recipe.evaluation.benchmarks:
        folder = run.folder(evaluation.step_name("iter2", ref))
        result = evaluation.read_result(folder, with_samples=True)
        told = plugins.make("benchmarks", ref).item_metrics(evaluation.open_source)
        assert set(gating._metrics([(result, result)])) <= set(told), ref.key


def test_a_gate_by_judges_needs_judges() -> None:
    data = yaml.safe_load(MICRO.read_text())
    data["stages"][0] |= {
        "gate": {"metric": "win_rate_over_parent"},
        "head_to_head": {"prompts": 0},
    }
    recipe = Recipe.model_validate(data)
    [problem] = gating.check(recipe, recipe.stages[0])
    assert "needs head_to_head, which is left out" in problem.message
    assert not gating.decides(recipe, iterations(recipe)[0])


# --- what follows from it ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("require", "passes"),
    [("not_worse", {"better", gating.SAME}), ("better", {"better"})],
)
def test_what_stop_lets_pass(require: Any, passes: set[str]) -> None:
    recipe = _recipe(action="stop", require=require)
    halt = make_plan(recipe).by_name["iter1-gate"].halt
    for outcome in ("better", gating.SAME, "worse", "not compared"):
        error = halt({"outcome": outcome, "comparisons": [], "level": 0.95})
        assert (error is None) == (outcome in passes), outcome
        if error is not None:
            assert "--set stages.0.gate.action=warn" in error.hint


def test_a_metric_that_no_benchmark_has_is_told_with_those_there_are() -> None:
    halt = make_plan(_recipe(action="stop", metric="win_rat")).by_name["iter1-gate"].halt
    found = {"outcome": "not compared", "comparisons": [], "level": 0.95}
    error = halt({**found, "metrics": ["lc", "win_rate"]})
    assert error is not None
    assert "has a score 'win_rat' (gate.metric): there are lc, win_rate" in error.message
    assert "did you mean 'win_rate'" in error.hint and "stages.0.gate.metric" in error.hint


@pytest.mark.parametrize("action", ["warn", "continue"])
def test_only_stop_stops(action: Any) -> None:
    halt = make_plan(_recipe(action=action)).by_name["iter1-gate"].halt
    assert halt({"outcome": "worse", "comparisons": [], "level": 0.95}) is None


def test_only_a_gate_that_stops_is_waited_for_in_training() -> None:
    assert not any(
        step.kind in ("gate", "evaluate") for step in make_plan(_recipe(), "train").steps
    )
    plan = make_plan(_recipe(action="stop", benchmarks=["mt_bench"]), "train")
    names = [step.name for step in plan.steps]
    assert names == [
        "base", "eval-base-mt_bench",
        "iter1-responses", "iter1-judge", "iter1-train", "iter1-held-out", "iter1-head-to-head",
        "eval-iter1-mt_bench", "iter1-gate",
        "iter2-responses", "iter2-judge", "iter2-train", "iter2-held-out", "iter2-head-to-head",
        "eval-iter2-mt_bench", "iter2-gate",
    ]  # fmt: skip
    assert "iter1-gate" in {step.name for step in plan.up_to({"iter2-responses"}).steps}
    assert "eval-base-mt_bench" not in plan.dependents("iter1-gate")
    assert plan.dependents("iter1-gate") == ["iter1-gate"]


def test_every_gate_is_there_where_everything_is_measured() -> None:
    names = [step.name for step in make_plan(_recipe(), "evaluate").steps]
    assert names.index("iter1-gate") < names.index("iter2-responses")
    assert {"iter1-gate", "iter2-gate"} <= set(names)


def test_without_benchmarks_there_is_no_gate() -> None:
    data = yaml.safe_load(MICRO.read_text()) | {"evaluation": {}}
    plan = make_plan(Recipe.model_validate(data))
    assert not any(step.kind == "gate" for step in plan.steps)


def test_what_the_gate_does_makes_no_step_stale() -> None:
    changed = _recipe(action="stop", require="better")
    before, after = (make_plan(recipe, "evaluate").by_name for recipe in (_recipe(), changed))
    assert list(before) == list(after)
    for name, step in before.items():
        assert (step.settings, step.needs) == (after[name].settings, after[name].needs), name


# --- in real runs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ruinous(pocket_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose second iteration is ruined by its learning rate; its gate stops."""
    recipe = {
        "name": "Ruin",
        "base": {"model": str(pocket_base)},
        "stages": [
            {
                "method": "sft",
                "iterations": 3,
                "prompts": {"name": "pocket", "split": "self_play", "count": 8},
                "training": {"batch_size": 4, "optimizer": "sgd", "learning_rate": 1e-6},
                "per_iteration": [{}, {"training": {"learning_rate": 0.9, "max_grad_norm": 100}}],
                "gate": {"action": "stop"},
            }
        ],
        "evaluation": {
            "judge": "rule",
            "benchmarks": [
                {
                    "name": "mt_bench",
                    "questions": {"name": "pocket", "split": "two_turn", "count": 12},
                    "max_new_tokens": 12,
                }
            ],
        },
        "card": {"title": "Ruin", "license": "mit"},
    }
    file = tmp_path_factory.mktemp("ruin") / "ruin.yaml"
    file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return file


@pytest.mark.slow
def test_a_worse_iteration_stops_the_run_and_warn_goes_on_from_there(
    ruinous: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(tmp_path / "run")
    words = ("train", str(ruinous), "--out", str(run.path))
    assert evalkit(*words) == 1
    said = capfd.readouterr().err
    assert "iter1 shows no significant gain over base" in said
    assert "the gate ends the run: iter2 is significantly worse than iter1" in said
    assert "--set stages.0.gate.action=warn" in said
    assert not any(name.startswith("iter3") for name in run.finished())
    told = json.loads((run.path / "lineage.json").read_text())["checkpoints"]
    outcomes = [(one.get("gate") or {}).get("outcome") for one in told]
    assert outcomes == [None, gating.SAME, "worse"]

    assert evalkit(*words) == 1
    assert _steps(capfd.readouterr().err) == []  # nothing is made again
    assert evalkit(*words, "--until", "iter2-train") == 0
    capfd.readouterr()
    assert evalkit(*words, "--set", "stages.0.gate.action=warn") == 0
    assert _steps(capfd.readouterr().err) == ["iter3-responses", "iter3-train"]

    assert evalkit(*words, "--set", "stages.0.gate.metric=averge") == 1
    said = capfd.readouterr().err
    assert _steps(said) == []
    assert "stages.0.gate.metric" in said and "did you mean 'average'" in said


def _steps(said: str) -> list[str]:
    """The steps that a command began, as it said."""
    return re.findall(r"^\[\d+/\d+\] ([\w-]+):", said, re.MULTILINE)
