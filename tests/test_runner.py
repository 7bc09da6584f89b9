"""Running plans: order, resuming, refusing what is stale, redoing with what depends on it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import EvalkitError, RecipeError, StaleStepError
from evalkit.pipeline import runner
from evalkit.pipeline.step import Plan, RunOptions, Step, StepContext
from evalkit.recipe import Recipe
from evalkit.rundir import RunDir

RECIPE = Recipe.model_validate(
    {"name": "x", "base": {"model": "m"}, "card": {"title": "t", "license": "mit"}}
)


def _plan(log: list[str], *, setting: int = 1, table_setting: int = 1) -> Plan:
    def work(name: str) -> Any:
        def do(context: StepContext) -> Mapping[str, Any]:
            log.append(name)
            (context.folder / "made").write_text(name)
            return {"digest": name + str(setting if name == "first" else "")}

        return do

    steps = (
        Step("first", "base", "", {"setting": setting}, (), work("first")),
        Step("second", "train", "", {}, ("first",), work("second")),
        Step("other", "train", "", {}, (), work("other")),
        Step("table", "card", "", {"s": table_setting}, ("second",), work("table"), False),
    )  # fmt: skip
    return Plan(RECIPE, steps)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


OPTIONS = RunOptions(hub_root=Path("hub"))


def test_a_second_run_does_nothing(run: RunDir) -> None:
    log: list[str] = []
    assert runner.execute(_plan(log), run, OPTIONS) == ["first", "second", "other", "table"]
    assert runner.execute(_plan(log), run, OPTIONS) == []
    assert log == ["first", "second", "other", "table"]


def test_an_expensive_step_with_other_settings_is_refused_with_what_changed(run: RunDir) -> None:
    runner.execute(_plan([]), run, OPTIONS)
    log: list[str] = []
    with pytest.raises(StaleStepError) as caught:
        runner.execute(_plan(log, setting=2), run, OPTIONS)
    assert "settings.setting: 1 -> 2" in caught.value.message
    assert "--redo first" in caught.value.hint
    assert log == []


def test_all_stale_steps_are_told_at_once_but_not_what_depends_on_them(run: RunDir) -> None:
    runner.execute(_plan([]), run, OPTIONS)
    changed = _plan([], setting=2)
    other = dataclasses.replace(changed.by_name["other"], settings={"x": 1})
    steps = tuple(other if step.name == "other" else step for step in changed.steps)
    with pytest.raises(StaleStepError) as caught:
        runner.execute(Plan(RECIPE, steps), run, OPTIONS)
    assert "--redo first --redo other" in caught.value.hint
    assert "second" not in caught.value.message


def test_a_cheap_step_with_other_settings_is_rebuilt(run: RunDir) -> None:
    runner.execute(_plan([]), run, OPTIONS)
    assert runner.execute(_plan([], table_setting=2), run, OPTIONS) == ["table"]


def test_redo_takes_what_depends_on_it_along(run: RunDir) -> None:
    runner.execute(_plan([]), run, OPTIONS)
    plan = _plan([], setting=2)
    assert runner.redo(plan, run, ["first"], OPTIONS) == ["first", "second", "table"]
    assert runner.execute(plan, run, OPTIONS) == ["first", "second", "table"]


def test_redo_forgets_nothing_while_another_step_is_stale(run: RunDir) -> None:
    runner.execute(_plan([]), run, OPTIONS)
    with pytest.raises(StaleStepError, match="step first"):
        runner.redo(_plan([], setting=2), run, ["other"], OPTIONS)
    assert run.receipt("other") is not None


def test_redo_of_an_unknown_step_names_the_nearest(run: RunDir) -> None:
    with pytest.raises(RecipeError) as caught:
        runner.redo(_plan([]), run, ["frist"], OPTIONS)
    assert "did you mean 'first'" in caught.value.hint


def test_a_failed_step_leaves_the_finished_ones(run: RunDir) -> None:
    plan = _plan([])
    broken = Step("second", "train", "", {}, ("first",), lambda context: 1 / 0)  # type: ignore[arg-type,return-value]
    steps = tuple(broken if step.name == "second" else step for step in plan.steps)
    with pytest.raises(ZeroDivisionError):
        runner.execute(Plan(RECIPE, steps), run, OPTIONS)
    names = [step.name for step in plan.steps]
    assert [name for name in names if run.receipt(name)] == ["first"]


def test_a_step_that_halts_is_noted_also_after_a_kill_behind_its_receipt(run: RunDir) -> None:
    gate = Step("gate", "gate", "", {}, (), lambda context: {"digest": "g"}, False,
                halt=lambda result: EvalkitError("no further"))  # fmt: skip
    plan = Plan(RECIPE, (gate,))
    runner.run_step(plan, gate, run, OPTIONS)  # its command was killed before it noted that
    noted: list[str] = []
    for count in (1, 2):
        with pytest.raises(EvalkitError, match="no further"):
            runner.execute(plan, run, OPTIONS, note=lambda: noted.append("gate"))
        assert len(noted) == count


def test_a_plan_is_cut_down_to_what_a_goal_needs() -> None:
    assert [step.name for step in _plan([]).up_to({"second"}).steps] == ["first", "second"]
