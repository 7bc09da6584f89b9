"""The step that judges: what a recipe says of preferences decides, and order bias is told."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit.console import no_progress
from evalkit.pipeline.groups import read_groups, write_groups
from evalkit.pipeline.plan import make_plan
from evalkit.pipeline.step import RunOptions, StepContext
from evalkit.recipe import Recipe
from evalkit.records import Message, Prompt, PromptGroup, Response
from evalkit.rundir import Receipt, RunDir

MICRO = Path(__file__).parent / "recipes" / "micro.yaml"
BIAS = 0.5
JUDGE = """
from evalkit.roles import Judge, Verdict

class Longer(Judge):
    'Prefers the longer response by a logit a letter, and what is shown first by half a one.'

    def identity(self):
        return {"name": "longer"}

    def compare(self, requests, progress):
        return [Verdict(len(r.first) - len(r.second) + 0.5) for r in requests]

PLUGIN = Longer
"""


def _judged(
    tmp_path: Path, texts: tuple[str, ...], **preferences: Any
) -> tuple[PromptGroup, Mapping[str, Any]]:
    """One prompt's responses, judged as the step of a recipe with these preferences does."""
    judge = tmp_path / "longer.py"
    judge.write_text(JUDGE)
    data = yaml.safe_load(MICRO.read_text())
    data["stages"][0] |= {"judge": {"name": str(judge)}, "preferences": preferences}
    recipe = Recipe.model_validate(data)
    run = RunDir(tmp_path / "run")
    responses = tuple(Response(text, (1,) * len(text), "stop") for text in texts)
    group = PromptGroup(Prompt("p", (Message("user", "?"),)), (1,), responses)
    write_groups(run.begin("iter1-responses", "0"), [group])
    run.finish("iter1-responses", Receipt("iter1-responses", "0", {"needs": {}}, {"digest": "g"}))
    folder = run.begin("iter1-judge", "0")
    context = StepContext(recipe, run, folder, RunOptions(tmp_path), no_progress)
    result = make_plan(recipe, "train").by_name["iter1-judge"].work(context)
    [found] = read_groups(folder)
    return found, result


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("preferences", "longest"),
    [
        ({}, (0.5 + _sigmoid(1) + _sigmoid(3)) / 3),
        ({"self_comparison": False}, (_sigmoid(1) + _sigmoid(3)) / 2),
        ({"temperature": 0.25}, (0.5 + _sigmoid(4) + _sigmoid(12)) / 3),
        ({"temperature": 4.0, "self_comparison": False}, (_sigmoid(0.25) + _sigmoid(0.75)) / 2),
        # Both orders summed up over all three: scores 8/3, 2/3 and -10/3.
        ({"aggregation": "score_difference"}, (0.5 + _sigmoid(2) + _sigmoid(6)) / 3),
    ],
)
def test_preferences_of_a_recipe_decide_win_probabilities(
    tmp_path: Path, preferences: dict[str, Any], longest: float
) -> None:
    group, _ = _judged(tmp_path, ("aaaa", "bbb", "c"), **preferences)
    assert group.win_probs is not None
    assert group.win_probs[0] == pytest.approx(longest)
    assert sum(group.win_probs) == pytest.approx(1.5)


def test_order_bias_is_measured_told_and_taken_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group, result = _judged(tmp_path, ("aa", "bb", "aa", "dddd"))
    stats = result["stats"]
    assert stats["order_bias"] == pytest.approx(BIAS)
    assert stats["order_bias_abs"] == pytest.approx(2 * BIAS)
    assert stats["order_flips"] == pytest.approx(1 / 3)  # of aa and bb, as long as each other
    assert (stats["ties"], stats["duplicate_responses"]) == (1, 1)
    said = capsys.readouterr().err
    assert "judged 6 ordered pairs: order bias +0.5 logits, 33.3% flip with the order" in said
    assert "33.3% ties, 25.0% duplicates" in said
    assert group.win_probs is not None
    assert group.win_probs[0] == group.win_probs[2]  # equal responses have equal probabilities
    assert group.pair_probs is not None and group.pair_probs[0][1] == pytest.approx(0.5)


def test_preferences_are_part_of_what_a_step_was_made_with() -> None:
    data = yaml.safe_load(MICRO.read_text())

    def settings(**preferences: Any) -> Any:
        data["stages"][0]["preferences"] = preferences
        return make_plan(Recipe.model_validate(data), "train").by_name["iter1-judge"].settings

    every = [settings(), settings(temperature=0.5), settings(self_comparison=False)]
    assert all(every.count(one) == 1 for one in every)
