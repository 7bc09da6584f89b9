"""Win probabilities: golden K=5 numbers, antisymmetry, missing verdicts, duplicates, order bias."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.preferences import (
    PreferenceOptions,
    judge_groups,
    pair_probabilities,
    sigmoid,
    win_probabilities,
)
from evalkit.records import Message, Prompt, PromptGroup, Response
from evalkit.roles import Judge, Options, PairRequest, Progress, Verdict

RELEASED = PreferenceOptions(aggregation="score_difference")


def golden(shared: Path, name: str) -> dict[str, Any]:
    cases = json.loads((shared / "golden" / "loss.json").read_text("utf-8"))["cases"]
    return next(case for case in cases if case["name"] == name)


def test_released_pipeline(shared: Path) -> None:
    case = golden(shared, "pairrm_k5_released_pipeline")
    logits = tuple(map(tuple, case["inputs"]["pair_logits"]))
    expected = case["expected"]
    assert win_probabilities(logits, RELEASED) == pytest.approx(expected["win_vs_policy"], abs=1e-6)
    for i, row in enumerate(expected["probability"]):
        for j, value in enumerate(row):
            assert pair_probabilities(logits, RELEASED)[i][j] == pytest.approx(value, abs=1e-6)


def test_paper_estimator(shared: Path) -> None:
    case = golden(shared, "pairrm_k5_paper_estimator")
    logits = tuple(map(tuple, case["inputs"]["pair_logits"]))
    expected = case["expected"]
    for include, key in ((True, "including_self"), (False, "excluding_self")):
        found = win_probabilities(logits, PreferenceOptions(self_comparison=include))
        assert found == pytest.approx(expected[f"win_vs_policy_{key}"], abs=1e-9)
    for i, row in enumerate(expected["probability"]):
        for j, value in enumerate(row):
            found = pair_probabilities(logits, PreferenceOptions())[i][j]
            assert found == pytest.approx(value, abs=1e-9)


def test_released_form_doubles_additive_logits(shared: Path) -> None:
    rewards = golden(shared, "pairrm_additive_sharpening")["inputs"]["r"]
    logits = tuple(tuple(a - b for b in rewards) for a in rewards)
    doubled = win_probabilities(logits, PreferenceOptions(temperature=0.5))
    assert win_probabilities(logits, RELEASED) == pytest.approx(doubled, abs=1e-12)


matrices = st.integers(2, 6).flatmap(
    lambda k: st.lists(st.lists(st.floats(-30, 30), min_size=k, max_size=k), min_size=k, max_size=k)
)


@given(matrices, st.booleans(), st.floats(0.1, 5), st.randoms(use_true_random=False))
def test_probabilities_are_antisymmetric_and_follow_permutations(
    rows: list[list[float]], include: bool, temperature: float, random: Any
) -> None:
    logits = tuple(tuple(0.0 if i == j else v for j, v in enumerate(r)) for i, r in enumerate(rows))
    options = PreferenceOptions(self_comparison=include, temperature=temperature)
    probabilities = win_probabilities(logits, options)
    assert probabilities is not None
    assert sum(probabilities) == pytest.approx(len(rows) / 2, abs=1e-9)
    pairs = pair_probabilities(logits, options)
    assert pairs[0][1] == pytest.approx(1 - (pairs[1][0] or 0), abs=1e-12)
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = tuple(tuple(logits[i][j] for j in order) for i in order)
    assert win_probabilities(shuffled, options) == pytest.approx(
        [probabilities[i] for i in order], abs=1e-12
    )


class ScriptedJudge(Judge):
    """Prefers the longer text, favours what is shown first, and may refuse."""

    def __init__(self, refuses: Callable[[PairRequest], bool] = lambda request: False) -> None:
        super().__init__(Options())
        self.asked: list[PairRequest] = []
        self._refuses = refuses

    def identity(self) -> dict[str, Any]:
        return {"name": "scripted"}

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        self.asked += requests
        return [
            Verdict(None, "refused")
            if self._refuses(r)
            else Verdict(0.5 + len(r.first) - len(r.second))
            for r in requests
        ]


def group(*texts: str) -> PromptGroup:
    responses = [Response(text, (1,), "stop") for text in texts]
    responses.append(Response("gold", (1,), "gold"))
    prompt = Prompt("p", (Message("user", "?"),), gold="gold")
    return PromptGroup(prompt, (1,), tuple(responses))


def ignore(done: int, total: int, note: str = "") -> None:
    """No progress is shown."""


def test_duplicates_are_judged_once_and_tie() -> None:
    judge = ScriptedJudge()
    judged, stats = judge_groups([group("aa", "b", "aa")], judge, PreferenceOptions(), ignore)
    assert len(judge.asked) == 2
    assert judged[0].pair_logits == ((0.0, 1.5, 0.0), (-0.5, 0.0, -0.5), (0.0, 1.5, 0.0))
    win, lose = (1 + sigmoid(1)) / 3, (0.5 + 2 * sigmoid(-1)) / 3
    assert judged[0].win_probs == pytest.approx((win, lose, win))
    assert stats.duplicate_responses == 1
    assert stats.order_bias == pytest.approx(0.5)


def test_missing_verdicts_are_counted_and_left_out() -> None:
    judge = ScriptedJudge(lambda request: request.first == "aaa" and request.second == "b")
    judged, stats = judge_groups([group("aaa", "b", "cc")], judge, PreferenceOptions(), ignore)
    assert stats.missing == 1
    assert stats.verdicts == 6
    # aaa and b are not compared, as one order is missing: each has one opponent besides itself.
    expected = [(0.5 + sigmoid(1)) / 2, (0.5 + sigmoid(-1)) / 2]
    assert judged[0].win_probs is not None
    assert judged[0].win_probs[:2] == pytest.approx(expected)
    assert win_probabilities(judged[0].pair_logits or (), RELEASED) is None


def test_a_response_without_opponents_leaves_the_prompt_unjudged() -> None:
    groups = [group("aaa", "b"), group("same")]
    judged, stats = judge_groups(groups, ScriptedJudge(lambda _: True), PreferenceOptions(), ignore)
    assert [g.win_probs for g in judged] == [None, None]
    assert stats.unjudged_prompts == 2
    assert stats.order_bias is None


def test_all_ordered_pairs_of_different_responses_are_asked() -> None:
    groups = [group("a", "b", "c", "d", "e"), group("a", "b", "a")]
    _, stats = judge_groups(groups, ScriptedJudge(lambda _: True), PreferenceOptions(), ignore)
    assert stats.verdicts == 20 + 2


def test_sigmoid_never_overflows() -> None:
    assert sigmoid(-1000) == 0.0
    assert sigmoid(1000) == 1.0
