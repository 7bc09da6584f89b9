"""`--redo` with a plan that is cut short: what was made from a redone step goes too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.pipeline import runner
from evalkit.pipeline.step import Plan, RunOptions, Step, StepContext
from evalkit.recipe import Recipe
from evalkit.rundir import RunDir

RECIPE = Recipe.model_validate(
    {"name": "x", "base": {"model": "m"}, "card": {"title": "t", "license": "mit"}}
)
OPTIONS = RunOptions(hub_root=Path("hub"))


def _step(name: str, *needs: str, expensive: bool = True) -> Step:
    def work(context: StepContext) -> Mapping[str, Any]:
        return {"digest": name}

    return Step(name, "train", "", {}, needs, work, expensive)


def test_finished_steps_beyond_the_cut_are_forgotten_with_what_they_were_made_from(
    tmp_path: Path,
) -> None:
    run = RunDir(tmp_path / "run")
    whole = Plan(RECIPE, (
        _step("base"), _step("train", "base"), _step("measure", "train"),
        _step("cards", "measure", expensive=False), _step("other"),
    ))  # fmt: skip
    runner.execute(whole, run, OPTIONS)
    cut = whole.up_to({"train"})
    assert runner.redo(cut, run, ["train"], OPTIONS) == ["train", "measure", "cards"]
    assert run.finished() == ["base", "other"]
    runner.execute(cut, run, OPTIONS)
    # Nothing is left that a later command would refuse as stale.
    assert runner.execute(whole, run, OPTIONS) == ["measure", "cards"]
