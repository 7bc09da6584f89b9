"""Rules: what earns full marks, what earns some, and that length alone earns nothing."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import RecipeError
from evalkit.pocket.items import draw
from evalkit.pocket.kinds import EXACT_NAMES, OPEN_NAMES
from evalkit.rules import PARTIAL_CREDIT, check, edit_distance, problem, similarity

COVER = {"kind": "cover", "require": ["cat", "big", "warm"], "max_words": 6}
MEMBERS = {"kind": "members", "of": ["ant", "bee", "cat", "dog"], "count": 2, "forbid": ["dog"]}
words = st.lists(st.sampled_from("ant bee cat dog big warm the".split()), max_size=9)


def test_only_the_answer_is_exact() -> None:
    rule = {"kind": "exact", "answer": "red cat"}
    assert check(rule, " red  cat\n") == 1.0
    assert check(rule, "red cat cat") == pytest.approx(PARTIAL_CREDIT * 2 / 3)
    assert check(rule, "Red cat") == PARTIAL_CREDIT / 2
    assert check(rule, "") == 0.0


@given(words, words)
def test_partial_credit_stays_below_half(answer: list[str], response: list[str]) -> None:
    score = check({"kind": "exact", "answer": " ".join(answer)}, " ".join(response))
    assert score == 1.0 if answer == response else 0.0 <= score <= PARTIAL_CREDIT


@given(words, words)
def test_edit_distance_is_symmetric_and_bounded(first: list[str], second: list[str]) -> None:
    distance = edit_distance(first, second)
    assert distance == edit_distance(second, first)
    assert abs(len(first) - len(second)) <= distance <= max(len(first), len(second))
    assert (similarity(first, second) == 1.0) == (first == second)


def test_a_longer_answer_may_be_better_or_worse() -> None:
    short, right, padded = "the cat", "the cat is big and warm", "the cat is big and warm warm warm"
    assert check(COVER, short) < check(COVER, right) == 1.0
    assert check(COVER, padded) < check(COVER, right)
    assert check(COVER, "the cat is big and warm and that is all I know") < 1.0


def test_required_words_count_once_and_in_any_case() -> None:
    assert check(COVER, "Big, warm Cat!") == 1.0
    assert check(COVER, "cat big cat") == pytest.approx(2 / 3)
    assert check(COVER, "") == 0.0


def test_forbidden_words_halve_the_score() -> None:
    assert check({**COVER, "forbid": ["dog"]}, "big warm cat dog") == 0.5


def test_members_wants_different_ones_and_nothing_else() -> None:
    assert check(MEMBERS, "bee, cat") == 1.0
    assert check(MEMBERS, "bee bee") == 0.5
    assert check(MEMBERS, "bee") == 0.5
    assert check(MEMBERS, "bee cat ant") == pytest.approx(2 / 3)
    assert check(MEMBERS, "bee dog") == 0.25


@given(words)
def test_scores_lie_between_0_and_1(response: list[str]) -> None:
    for rule in (COVER, MEMBERS):
        assert 0.0 <= check(rule, " ".join(response)) <= 1.0


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="exakt") as caught:
        check({"kind": "exakt"}, "x")
    assert "did you mean 'exact'" in caught.value.hint


def test_a_missing_key_is_named() -> None:
    with pytest.raises(RecipeError, match="needs the key 'answer'"):
        check({"kind": "exact"}, "x")


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({**MEMBERS, "count": "x"}, "'count' of a rule of kind 'members' must be a whole number"),
        ({**MEMBERS, "count": 0}, "whole number from 1, not 0"),
        ({**MEMBERS, "of": "ant"}, "'of' .* must be a list of words, not 'ant'"),
        ({**COVER, "require": 5}, "'require' .* must be a list of words, not 5"),
        ({**COVER, "forbid": [1]}, r"'forbid' .* must be a list of words, not \[1\]"),
        ({**COVER, "max_words": True}, "'max_words' .* whole number from 1, not True"),
        ({**COVER, "forbit": ["dog"]}, "has no key 'forbit'"),
        ({"kind": "exact", "answer": ["red"]}, "'answer' .* must be a text"),
        ({"kind": ["exact"], "answer": "red"}, "no rule is of kind"),
    ],
)
def test_a_bad_rule_is_named_and_never_a_crash(rule: Any, fault: str) -> None:
    assert re.search(fault, str(problem(rule)))
    with pytest.raises(RecipeError, match=fault):
        check(rule, "red cat")


def test_good_rules_have_no_problem() -> None:
    for rule in (COVER, MEMBERS, {"kind": "exact", "answer": 7}):
        assert problem(rule) is None
    kinds = (*EXACT_NAMES, *OPEN_NAMES)
    assert {problem(item.rule) for item in draw("self_play", 60, 0, kinds)} == {None}
