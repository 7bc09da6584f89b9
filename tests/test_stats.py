"""Intervals against textbook formulas and scipy; comparisons that mirror themselves."""

import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle

from evalkit import stats
from evalkit.errors import ScoreError
from evalkit.records import ResultSet, Sample, Score
from evalkit.student import student_quantile

values = st.lists(st.floats(-100, 100, allow_nan=False), min_size=2, max_size=40)
bits = st.lists(st.booleans(), min_size=2, max_size=60)


def result(
    name: str, outcomes: dict[str, float], scale: Any = "percent", **facts: Any
) -> ResultSet:
    """Results of one metric, one Sample per outcome."""
    score = Score(
        "task", "acc", float(np.mean(list(outcomes.values()))), len(outcomes), scale, **facts
    )
    samples = tuple(Sample(key, "task", {"acc": value}) for key, value in outcomes.items())
    return ResultSet("suite", name, "0", (score,), {"judge": {"name": "j"}}, samples)


class TestOracles:
    """Equal to scipy where scipy has it."""

    @pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 10, 79, 199, 200, 201, 804, 14041])
    @pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.995])
    def test_student_quantile(self, probability: float, degrees: int) -> None:
        expected = oracle.t.ppf(probability, degrees)
        assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-12)
        assert student_quantile(1 - probability, degrees) == pytest.approx(-expected, rel=1e-12)

    @pytest.mark.parametrize(("probability", "degrees"), [(0.0, 3), (1.0, 3), (0.9, 0)])
    def test_no_student_quantile(self, probability: float, degrees: int) -> None:
        with pytest.raises(ValueError, match="no quantile"):
            student_quantile(probability, degrees)

    def test_intervals_need_no_scipy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("scipy", "scipy.special", "scipy.stats"):
            monkeypatch.setitem(sys.modules, module, None)
        assert stats.mean_interval([1.0, 2.0]).high == pytest.approx(7.853102, abs=1e-6)

    @given(st.integers(0, 300), st.integers(1, 300))
    @settings(max_examples=50, deadline=None)
    def test_wilson(self, successes: int, n: int) -> None:
        successes = min(successes, n)
        expected = oracle.binomtest(successes, n).proportion_ci(method="wilson")
        found = stats.wilson_interval(successes, n)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= 1

    @given(st.integers(0, 200), st.integers(0, 200))
    @settings(max_examples=50, deadline=None)
    def test_mcnemar(self, only_a: int, only_b: int) -> None:
        n = only_a + only_b
        expected = oracle.binomtest(only_a, n).pvalue if n else 1.0
        assert stats.mcnemar_exact(only_a, only_b) == pytest.approx(expected, rel=1e-9)
        assert stats.mcnemar_exact(only_a, only_b) == stats.mcnemar_exact(only_b, only_a)

    def test_mean(self) -> None:
        data = np.random.default_rng(0).normal(3, 2, size=30)
        found = stats.mean_interval(data)
        expected = oracle.t.interval(0.95, 29, data.mean(), oracle.sem(data))
        assert (found.low, found.high) == pytest.approx(expected)
        assert found.stderr == pytest.approx(oracle.sem(data))
        normal = stats.mean_interval(data, normal=True)
        assert normal.high == pytest.approx(data.mean() + 1.959963985 * oracle.sem(data))

    def test_stderr_of_a_proportion_is_the_harness_s(self) -> None:
        found = stats.wilson_interval(30, 100).stderr
        assert found == pytest.approx(oracle.sem([1.0] * 30 + [0.0] * 70))

    def test_bootstrap_agrees_with_the_normal_interval(self) -> None:
        data = np.random.default_rng(1).normal(size=400)
        bootstrap, normal = stats.bootstrap_interval(data, 0), stats.mean_interval(data)
        assert bootstrap.low == pytest.approx(normal.low, abs=0.01)
        assert bootstrap.high == pytest.approx(normal.high, abs=0.01)
        assert bootstrap.stderr == pytest.approx(normal.stderr, rel=0.05)

    def test_both_ways_of_resampling_agree(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = np.random.default_rng(2).integers(0, 2, size=300).astype(float)
        few = stats.bootstrap_interval(data, 0)
        monkeypatch.setattr(stats, "_FEW_VALUES", 0)
        many = stats.bootstrap_interval(data, 0)
        assert (few.low, few.high) == pytest.approx((many.low, many.high), abs=0.01)

    def test_sign_flips_agree_with_student(self) -> None:
        data = np.random.default_rng(3).normal(0.1, 1, size=200)
        expected = oracle.ttest_1samp(data, 0).pvalue
        assert stats.sign_flip_p_value(data, 0) == pytest.approx(expected, abs=0.02)

    def test_coverage(self) -> None:
        generator, hits = np.random.default_rng(4), 0
        for _ in range(300):
            low, high = stats.bootstrap_interval(generator.normal(size=60), 0, draws=400)[2:4]
            hits += low <= 0 <= high  # type: ignore[operator]
        assert 0.89 <= hits / 300 <= 0.99


class TestClusters:
    """Values of one question are one observation."""

    @given(values)
    @settings(max_examples=30, deadline=None)
    def test_clusters_of_one_are_no_clusters(self, data: list[float]) -> None:
        assert stats.clustered_mean_interval(data, list(range(len(data)))) == stats.mean_interval(
            data
        )

    def test_repeating_every_value_adds_nothing(self) -> None:
        data = [1.0, 4.0, 2.0, 8.0]
        once = stats.mean_interval(data)
        twice = stats.clustered_mean_interval(data * 2, [*range(4)] * 2)
        assert twice.stderr == pytest.approx(once.stderr)
        assert stats.mean_interval(data * 2).stderr < once.stderr  # type: ignore[operator]

    def test_one_cluster_has_no_interval(self) -> None:
        found = stats.clustered_mean_interval([1.0, 2.0], ["q", "q"])
        assert found == stats.Interval(1.5, None, None, None, 2)


class TestCompare:
    """A paired difference of two results."""

    @given(bits, st.integers(0, 5), st.data())
    @settings(max_examples=30, deadline=None)
    def test_antisymmetric(self, first: list[bool], seed: int, data: Any) -> None:
        second = data.draw(st.lists(st.booleans(), min_size=len(first), max_size=len(first)))
        a = result("a", {str(i): 100.0 * x for i, x in enumerate(first)})
        b = result("b", {str(i): 100.0 * x for i, x in enumerate(second)})
        self._mirrored(stats.compare(a, b, "task", "acc", seed), a, b, seed, "McNemar")

    @given(st.lists(st.tuples(st.floats(1, 10), st.floats(1, 10)), min_size=2, max_size=80))
    @settings(max_examples=20, deadline=None)
    def test_antisymmetric_with_partial_credit(self, pairs: list[tuple[float, float]]) -> None:
        pairs = [*pairs, (1.5, 2.5)]
        a = result("a", {str(i): x for i, (x, _) in enumerate(pairs)}, "rating")
        b = result("b", {str(i): y for i, (_, y) in enumerate(pairs)}, "rating")
        self._mirrored(stats.compare(a, b, "task", "acc", 0), a, b, 0, "sign-flip")

    def _mirrored(self, forth: Any, a: ResultSet, b: ResultSet, seed: int, test: str) -> None:
        back = stats.compare(b, a, "task", "acc", seed)
        assert forth.difference == pytest.approx(-back.difference, abs=1e-12)
        assert (forth.ci_low, forth.ci_high) == pytest.approx((-back.ci_high, -back.ci_low))
        assert forth.p_value == back.p_value
        assert forth.ci_low - 1e-9 <= forth.difference <= forth.ci_high + 1e-9 or forth.n < 10
        assert test in forth.method

    def test_the_same_seed_gives_the_same_interval(self) -> None:
        generator = np.random.default_rng(0)
        a = result("a", {str(i): 100.0 * x for i, x in enumerate(generator.integers(0, 2, 99))})
        b = result("b", {str(i): 100.0 * x for i, x in enumerate(generator.integers(0, 2, 99))})
        assert stats.compare(a, b, "task", "acc", 7) == stats.compare(a, b, "task", "acc", 7)

    def test_pairs_by_id_whatever_the_order(self) -> None:
        a = result("a", {"x": 100.0, "y": 0.0, "only a": 0.0})
        b = result("b", {"only b": 100.0, "y": 0.0, "x": 0.0})
        found = stats.compare(a, b, "task", "acc", 0)
        assert (found.n, found.difference) == (2, -50.0)

    def test_pairing_sees_what_two_intervals_hide(self) -> None:
        data = np.random.default_rng(5).normal(5, 3, size=300)
        a = result("a", {str(i): x for i, x in enumerate(data)}, "rating")
        b = result("b", {str(i): x + 0.1 for i, x in enumerate(data)}, "rating")
        found = stats.compare(a, b, "task", "acc", 0)
        assert found.ci_low > 0
        assert found.p_value < 0.001

    @pytest.mark.parametrize(
        ("other", "fact"),
        [
            (result("b", {"x": 1.0}, "unit"), "scale"),
            (result("b", {"x": 100.0}, settings={"few_shot": 5}), "settings"),
            (ResultSet("other", "b", "0", result("b", {"x": 1.0}).scores, {}), "benchmark"),
        ],
    )
    def test_refuses_unlike_results(self, other: ResultSet, fact: str) -> None:
        with pytest.raises(ScoreError, match=fact):
            stats.compare(result("a", {"x": 100.0}), other, "task", "acc", 0)

    def test_refuses_another_judge(self) -> None:
        a, b = result("a", {"x": 100.0}), result("b", {"x": 100.0})
        b = ResultSet(b.benchmark, "b", "0", b.scores, {"judge": {"name": "k"}}, b.samples)
        with pytest.raises(ScoreError, match="judge"):
            stats.compare(a, b, "task", "acc", 0)

    def test_another_task_s_data_does_not_matter(self) -> None:
        a, b, c = (
            replace(result(name, {"x": 100.0}), provenance={"data": data})
            for name, data in [
                ("a", {"task": "1"}),
                ("b", {"task": "1", "other": "2"}),
                ("c", {"task": "3"}),
            ]
        )
        assert stats.compare(a, b, "task", "acc", 0).n == 1
        with pytest.raises(ScoreError, match="data"):
            stats.compare(a, c, "task", "acc", 0)

    def test_refuses_what_is_not_there(self) -> None:
        a, b = result("a", {"x": 100.0}), result("b", {"y": 100.0})
        with pytest.raises(ScoreError, match="share no item"):
            stats.compare(a, b, "task", "acc", 0)
        with pytest.raises(ScoreError, match="no score f1"):
            stats.compare(a, a, "task", "f1", 0)


class TestComparable:
    """Which scores two results can be compared by."""

    def _results(self, name: str, *sampled: tuple[str, str]) -> ResultSet:
        scores = tuple(
            Score(task, metric, 50.0, 2, "percent")
            for task, metric in [
                ("leaf", "acc_norm"),
                ("other", "acc"),
                ("group", "acc"),
                ("leaf", "acc"),
            ]
        )
        samples = tuple(Sample("1", task, {metric: 100.0}) for task, metric in sampled)
        return ResultSet("suite", name, "0", scores, {}, samples)

    def test_headlines_with_samples_in_order(self) -> None:
        sampled = [("leaf", "acc_norm"), ("leaf", "acc"), ("other", "acc")]
        a, b = (self._results(name, *sampled) for name in "ab")
        assert stats.comparable(a, b) == [("leaf", "acc_norm"), ("other", "acc")]
        for task, metric in stats.comparable(a, b):
            assert stats.compare(a, b, task, metric, 0).n == 1

    def test_both_results_must_have_them(self) -> None:
        a = self._results("a", ("leaf", "acc_norm"), ("other", "acc"))
        b = self._results("b", ("leaf", "acc"), ("other", "acc"))
        assert stats.comparable(a, b) == stats.comparable(b, a) == [("other", "acc")]


class TestRefusals:
    """No interval of nothing."""

    @pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
    def test_values(self, bad: list[float]) -> None:
        with pytest.raises(ScoreError):
            stats.mean_interval(bad)

    def test_proportions(self) -> None:
        for successes, n in [(0, 0), (3, 2), (-1, 2)]:
            with pytest.raises(ScoreError):
                stats.wilson_interval(successes, n)

    def test_unpaired(self) -> None:
        with pytest.raises(ScoreError, match="equal items"):
            stats.paired_bootstrap([1.0], [1.0, 2.0], 0)

    def test_one_value_has_no_interval(self) -> None:
        assert stats.mean_interval([4.0]) == stats.Interval(4.0, None, None, None, 1)


@given(values, st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_mirrored_values_give_the_mirrored_interval(data: list[float], seed: int) -> None:
    """Exactly, for any seed."""
    up = stats.bootstrap_interval(data, seed, draws=200)
    down = stats.bootstrap_interval([-x for x in data], seed, draws=200)
    assert (up.low, up.high, up.stderr) == (-down.high, -down.low, down.stderr)  # type: ignore[operator]
