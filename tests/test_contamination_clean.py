"""Scores over the items that no training text overlaps: means, groups, and what has none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.contamination.clean import clean_scores
from evalkit.records import ResultSet, Sample, Score
from evalkit.stats import mean_interval, wilson_interval


def _score(task: str, value: float, n: int, metric: str = "acc", **more: Any) -> Score:
    return Score(task, metric, value, n, more.pop("scale", "percent"), **more)


def _samples(task: str, values: Sequence[float | None], metric: str = "acc") -> list[Sample]:
    return [
        Sample(str(i), task, {} if value is None else {metric: value})
        for i, value in enumerate(values)
    ]


def _result(scores: Sequence[Score], samples: Sequence[Sample]) -> ResultSet:
    return ResultSet("suite", "model", "", tuple(scores), {}, tuple(samples))


def test_hits_leave_the_mean_and_its_interval() -> None:
    values = [100.0, 0.0, 100.0, 100.0, None]
    result = _result([_score("arc", 75.0, 4)], _samples("arc", values))
    (clean,) = clean_scores(result, {"arc": {"1", "4", "elsewhere"}, "other": {"0"}})
    expected = wilson_interval(3, 3).scaled(100)
    assert (clean.value, clean.n) == (100.0, 3)
    assert (clean.ci_low, clean.ci_high) == (expected.low, expected.high)
    assert clean.settings == {"overlapping": 1}


def test_partial_credit_has_students_interval() -> None:
    result = _result([_score("mc2", 40.0, 3)], _samples("mc2", [10.0, 50.0, 60.0]))
    (clean,) = clean_scores(result, {"mc2": {"0"}})
    expected = mean_interval([50.0, 60.0])
    assert clean.value == pytest.approx(expected.value)
    assert clean.stderr == pytest.approx(expected.stderr)
    assert clean.ci_low == max(0.0, expected.low or 0.0)


def test_what_is_no_mean_of_items_has_no_clean_form() -> None:
    fitted = _score("alpaca", 61.2, 3, "length_controlled_winrate")
    result = _result([fitted, _score("alpaca", 50.0, 3, "win_rate")],
                     _samples("alpaca", [40.0, 50.0, 60.0], "win_rate"))  # fmt: skip
    clean = clean_scores(result, {"alpaca": {"0"}})
    assert [(one.metric, one.value) for one in clean] == [("win_rate", 55.0)]


def test_a_value_that_is_not_the_mean_of_its_items_is_not_told_as_one() -> None:
    result = _result([_score("f1", 70.0, 2)], _samples("f1", [10.0, 20.0]))
    assert clean_scores(result, {"f1": {"0"}}) == ()


def test_without_a_clean_item_there_is_no_clean_score() -> None:
    result = _result([_score("arc", 50.0, 2)], _samples("arc", [0.0, 100.0]))
    assert clean_scores(result, {"arc": {"0", "1"}}) == ()


def _group(weights: str) -> ResultSet:
    """Two subjects of 2 and 4 items, put together by size or as they are."""
    part = {"part_of": "mmlu"}
    by_size, plain = 100 * 3 / 6, (100.0 + 25.0) / 2
    scores = [
        _score("mmlu_a", 100.0, 2, settings=part),
        _score("mmlu_b", 25.0, 4, settings=part),
        _score("mmlu", by_size if weights == "size" else plain, 6),
    ]
    samples = _samples("mmlu_a", [100.0, 100.0]) + _samples("mmlu_b", [100.0, 0.0, 0.0, 0.0])
    return _result(scores, samples)


@pytest.mark.parametrize(("weights", "expected"), [("size", 100 * 2 / 5), ("tasks", 50.0)])
def test_a_group_is_put_together_again_as_it_was(weights: str, expected: float) -> None:
    *_, group = clean_scores(_group(weights), {"mmlu_b": {"0"}})
    assert group.task == "mmlu"
    assert group.value == pytest.approx(expected)
    assert group.n == 5
    assert group.settings == {"overlapping": 1}
    assert group.stderr == 0.0  # of two subjects that are all right and all wrong


def test_a_group_with_a_subject_that_is_gone_has_no_clean_score() -> None:
    found = clean_scores(_group("tasks"), {"mmlu_a": {"0", "1"}})
    assert [one.task for one in found] == ["mmlu_b"]


@given(
    values=st.lists(st.sampled_from([0.0, 100.0]), min_size=1, max_size=12),
    hits=st.sets(st.integers(0, 14).map(str)),
)
def test_clean_and_overlapping_items_together_are_all(values: list[float], hits: set[str]) -> None:
    whole = math.fsum(values) / len(values)
    result = _result([_score("t", whole, len(values))], _samples("t", values))
    met = {str(i) for i in range(len(values))} & hits
    clean = clean_scores(result, {"t": hits})
    rest = clean_scores(result, {"t": {str(i) for i in range(len(values))} - hits})
    assert len(clean) == (len(met) < len(values))
    parts = [*clean, *rest]
    assert sum(one.n for one in parts) == len(values)
    total = math.fsum(one.value * one.n for one in parts) / len(values)
    assert total == pytest.approx(whole)
    assert all(one.settings["overlapping"] == len(met) for one in clean)
