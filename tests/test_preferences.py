"""Win probabilities: golden K=5 numbers, antisymmetry, missing verdicts, duplicates, order bias."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import correlation, fmean, pstdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.journal import Journal
from evalkit.pipeline.journaled import JournaledJudge
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


optionses = st.builds(
    PreferenceOptions,
    aggregation=st.sampled_from(["pairwise", "score_difference"]),
    self_comparison=st.booleans(),
    temperature=st.floats(0.1, 5),
)
matrices = st.integers(2, 6).flatmap(
    lambda k: st.lists(st.lists(st.floats(-30, 30), min_size=k, max_size=k), min_size=k, max_size=k)
)


@given(matrices, optionses, st.randoms(use_true_random=False))
def test_probabilities_are_antisymmetric_and_follow_permutations(
    rows: list[list[float]], options: PreferenceOptions, random: Any
) -> None:
    logits = tuple(tuple(0.0 if i == j else v for j, v in enumerate(r)) for i, r in enumerate(rows))
    probabilities = win_probabilities(logits, options)
    assert probabilities is not None
    # Every pair shares out one win, so that the mean win probability is a half.
    assert sum(probabilities) == pytest.approx(len(rows) / 2, abs=1e-9)
    pairs = pair_probabilities(logits, options)
    for i, row in enumerate(pairs):
        for j, value in enumerate(row):
            assert value == pytest.approx(1 - (pairs[j][i] or 0), abs=1e-12)
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = tuple(tuple(logits[i][j] for j in order) for i in order)
    assert win_probabilities(shuffled, options) == pytest.approx(
        [probabilities[i] for i in order], abs=1e-12
    )


@given(matrices, optionses)
def test_what_the_first_place_is_worth_changes_no_win_probability(
    rows: list[list[float]], options: PreferenceOptions
) -> None:
    logits = tuple(tuple(0.0 if i == j else v for j, v in enumerate(r)) for i, r in enumerate(rows))
    biased = tuple(
        tuple(v + 3.0 if i != j else v for j, v in enumerate(r)) for i, r in enumerate(logits)
    )
    assert win_probabilities(biased, options) == pytest.approx(
        win_probabilities(logits, options), abs=1e-9
    )


@given(matrices)
def test_without_the_own_tie_probabilities_are_further_from_a_half(rows: list[list[float]]) -> None:
    logits = tuple(tuple(0.0 if i == j else v for j, v in enumerate(r)) for i, r in enumerate(rows))
    among = win_probabilities(logits, PreferenceOptions())
    alone = win_probabilities(logits, PreferenceOptions(self_comparison=False))
    assert among is not None
    assert alone is not None
    count = len(rows)
    for with_own, without in zip(among, alone, strict=True):
        assert with_own - 0.5 == pytest.approx((without - 0.5) * (count - 1) / count, abs=1e-12)


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


def test_nearly_equal_responses_are_drawn_towards_a_tie() -> None:
    """A judge that is sure of a typing error sets a target that no policy can meet."""
    one, other = "the sky is blue because of the air", "the sky is blue because of thin air"
    texts = (one, other, "no idea at all")

    def probabilities(similar_from: float | None) -> Any:
        options = PreferenceOptions(similar_from=similar_from)
        [judged], _ = judge_groups([group(*texts)], ScriptedJudge(), options, ignore)
        assert judged.pair_probs is not None and judged.win_probs is not None
        for i, row in enumerate(judged.pair_probs):
            for j, p in enumerate(row):
                assert p == pytest.approx(1 - (judged.pair_probs[j][i] or 0))
            assert judged.win_probs[i] == pytest.approx(fmean(row))
        return judged.pair_probs

    plain, drawn = probabilities(None), probabilities(0.8)
    # 14 of 16 words are the same: of the last fifth of similarity, 5/8 are left.
    left = (1 - 14 / 16) / (1 - 0.8)
    assert drawn[0][1] - 0.5 == pytest.approx((plain[0][1] - 0.5) * left)
    assert drawn[0][2] == plain[0][2] and drawn[1][2] == plain[1][2]
    assert probabilities(0.9) == plain
    spaced = judge_groups(
        [group("so it is", "so  it is")],
        ScriptedJudge(),
        PreferenceOptions(similar_from=0.9),
        ignore,
    )
    assert spaced.groups[0].win_probs == (0.5, 0.5)


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


@given(st.floats(-900, 900), st.floats(-900, 900))
def test_probabilities_of_the_two_orders_can_be_averaged(forward: float, backward: float) -> None:
    logits = ((0.0, forward), (backward, 0.0))
    pairs = pair_probabilities(logits, PreferenceOptions(), "probabilities")
    assert pairs[0][1] == pytest.approx((sigmoid(forward) + 1 - sigmoid(backward)) / 2, abs=1e-12)
    assert (pairs[0][1] or 0) + (pairs[1][0] or 0) == pytest.approx(1, abs=1e-12)


def test_a_judge_says_what_of_the_orders_is_averaged(tmp_path: Path) -> None:
    class Sure(ScriptedJudge):
        """Certain of what is shown first, but for doubts about "b"."""

        averaged = "probabilities"

        def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
            return [Verdict(40.0 if r.first == "a" else 1.0) for r in requests]

    journaled = JournaledJudge(Sure(), Journal(tmp_path / "journal.jsonl"))
    for judge in (Sure(), journaled):
        [judged], _ = judge_groups([group("a", "b")], judge, PreferenceOptions(), ignore)
        assert judged.pair_probs is not None
        assert judged.pair_probs[0][1] == pytest.approx((1 + 1 - sigmoid(1)) / 2)


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


# --- what a round of judging says of itself -------------------------------------------------------


def stats_of(*texts: str, logits: Sequence[Sequence[float | None]]) -> Any:
    """The stats of one prompt whose pairs a judge answered so."""
    table = {(a, b): logits[i][j] for i, a in enumerate(texts) for j, b in enumerate(texts)}

    class Tabled(ScriptedJudge):
        def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
            return [Verdict(table[r.first, r.second], cut=r.first == "a") for r in requests]

    return judge_groups([group(*texts)], Tabled(), PreferenceOptions(), ignore).stats


def test_order_bias_has_a_direction_and_a_size() -> None:
    stats = stats_of("a", "b", "c", logits=[[0, 3, -1], [-1, 0, 2], [-1, 2, 0]])
    # C_ab + C_ba = 2, C_ac + C_ca = -2, C_bc + C_cb = 4
    assert stats.order_bias == pytest.approx((1 - 1 + 2) / 3)
    assert stats.order_bias_abs == pytest.approx((2 + 2 + 4) / 3)
    assert stats.order_flips == pytest.approx(2 / 3)
    assert stats.ties == 2  # a and c, b and c: their margins are 0
    assert stats.tie_rate == pytest.approx(2 / 3)
    assert stats.cyclic_triples is None  # a tie is no link of a circle
    assert stats.cut_verdicts == 2


def test_circles_of_preferences_are_counted() -> None:
    circle = stats_of("a", "b", "c", logits=[[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
    assert circle.cyclic_triples == 1
    assert circle.win_prob_spread == 0
    order = stats_of("a", "b", "c", logits=[[0, 1, 1], [-1, 0, 1], [-1, -1, 0]])
    assert order.cyclic_triples == 0
    away = (2 * sigmoid(1) + 0.5) / 3 - 0.5
    assert order.win_prob_spread == pytest.approx(away * (2 / 3) ** 0.5)


def test_spread_and_correlation_with_length() -> None:
    groups = [group("aaaa", "b", "cc", "b"), group("dd", "eeeeee")]
    groups = [
        replace(g, responses=tuple(replace(r, token_ids=(1,) * len(r.text)) for r in g.responses))
        for g in groups
    ]
    judge = ScriptedJudge()  # the longer, the better: by one logit a letter
    _, stats = judge_groups(groups, judge, PreferenceOptions(), ignore)
    # Of different responses, among all four: a duplicate is one more opponent.
    first = [
        (2 * sigmoid(3) + sigmoid(2) + 0.5) / 4,
        (sigmoid(-3) + sigmoid(-1) + 2 * 0.5) / 4,
        (sigmoid(-2) + 2 * sigmoid(1) + 0.5) / 4,
    ]
    second = [(sigmoid(-4) + 0.5) / 2, (sigmoid(4) + 0.5) / 2]
    assert stats.win_prob_spread == pytest.approx((pstdev(first) + pstdev(second)) / 2)
    lengths = [4 - 7 / 3, 1 - 7 / 3, 2 - 7 / 3, 2 - 4, 6 - 4]
    centred = [p - fmean(row) for row in (first, second) for p in row]
    assert stats.length_win_prob_correlation == pytest.approx(correlation(lengths, centred))
    assert stats.duplicate_rate == pytest.approx(1 / 6)
    best = (2 * sigmoid(3) + sigmoid(2) + 0.5) / 4, (sigmoid(4) + 0.5) / 2
    assert stats.best_win_prob == pytest.approx(sum(best) / 2)
    assert stats.worst_win_prob is not None
    assert stats.worst_win_prob < 0.5


def test_a_certain_verdict_does_not_outweigh_all_others() -> None:
    class Sure(ScriptedJudge):
        """Prefers longer responses by two logits, but is certain of one short one."""

        def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
            sign = {r: 1 if len(r.first) > len(r.second) else -1 for r in requests}
            return [
                Verdict(-40.0 * sign[r] if "x" in r.first + r.second else 2.0 * sign[r])
                for r in requests
            ]

    groups = [group("x", "yyyyy"), group("a", "bbbbb"), group("c", "ddddd")]
    groups = [
        replace(g, responses=tuple(replace(r, token_ids=(1,) * len(r.text)) for r in g.responses))
        for g in groups
    ]
    stats = judge_groups(groups, Sure(), PreferenceOptions(), ignore).stats
    assert stats.length_win_prob_correlation is not None
    assert stats.length_win_prob_correlation > 0.2  # of margins in logits it is below 0
    assert stats.win_prob_spread is not None
    assert 0 < stats.win_prob_spread < 0.25


def test_a_round_without_verdicts_says_nothing() -> None:
    stats = judge_groups(
        [group("same", "same")], ScriptedJudge(), PreferenceOptions(), ignore
    ).stats
    assert (stats.verdicts, stats.duplicate_responses, stats.duplicate_rate) == (0, 1, 0.5)
    assert stats.tie_rate is None
    assert stats.win_prob_spread is None
    assert stats.length_win_prob_correlation is None
