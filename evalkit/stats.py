"""Intervals and paired comparisons of measured numbers.

Every random draw is seeded, so the same results always give the same interval.
Confidence is 95 % unless said.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import ScoreError
from evalkit.records import Comparison, ResultSet, Score
from evalkit.student import student_quantile

DRAWS = 10_000
_BLOCK = 4_000_000  # resampled values held at once (32 MB)
_FEW_VALUES = 64

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with its standard error and confidence limits; None where undefined (n < 2)."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None
    n: int

    def scaled(self, factor: float) -> "Interval":
        """The same interval on a scale `factor` times as large (100: from unit to percent)."""
        value, stderr, low, high = (None if x is None else x * factor for x in self[:4])
        assert value is not None
        return Interval(value, stderr, low, high, self.n)

    def clipped(self, lowest: float, highest: float) -> "Interval":
        """The limits kept within the scale's own range."""
        low = None if self.low is None else max(self.low, lowest)
        high = None if self.high is None else min(self.high, highest)
        return self._replace(low=low, high=high)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """A proportion (0..1) with its Wilson score interval, which stays sane at 0 and n of n.

    The standard error is the harness's: sample standard deviation over sqrt(n).
    Source: Wilson 1927, eq. 4; Agresti and Coull 1998.
    """
    if not 0 <= successes <= n or n == 0:
        raise ScoreError(f"no proportion can be made of {successes} of {n}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    stderr = math.sqrt(p * (1 - p) / (n - 1)) if n > 1 else None
    return Interval(p, stderr, low, high, n)


def mean_interval(
    values: Sequence[float] | Floats, confidence: float = 0.95, *, normal: bool = False
) -> Interval:
    """A mean with its standard error and Student (or normal) interval."""
    array = _floats(values)
    return clustered_mean_interval(array, range(len(array)), confidence, normal=normal)


def stated_interval(
    value: float, stderr: float, n: int, confidence: float = 0.95, *, normal: bool = False
) -> Interval:
    """The Student (or normal) interval of a mean that is known only by its standard error."""
    if n < 2 and not normal:
        return Interval(value, None, None, None, n)
    tail = 0.5 + confidence / 2
    reach = stderr * (NormalDist().inv_cdf(tail) if normal else student_quantile(tail, n - 1))
    return Interval(value, stderr, value - reach, value + reach, n)


def clustered_mean_interval(
    values: Sequence[float] | Floats,
    clusters: Sequence[Hashable],
    confidence: float = 0.95,
    *,
    normal: bool = False,
) -> Interval:
    """The mean over all values, its interval treating values of one cluster as one observation.

    The linearised standard error of a ratio of cluster sums; with one value per
    cluster it is the ordinary one. Source: Cochran, Sampling Techniques, 3rd ed., eq. 2.45.
    """
    array = _floats(values)
    mean, n = float(array.mean()), len(array)
    order = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    count = len(order)
    if count < 2:
        return Interval(mean, None, None, None, n)
    codes = np.array([order[name] for name in clusters])
    residuals = np.bincount(codes, weights=array - mean, minlength=count)
    stderr = math.sqrt(count / (count - 1) * float(residuals @ residuals)) / n
    return stated_interval(mean, stderr, count, confidence, normal=normal)._replace(n=n)


def bootstrap_interval(
    values: Sequence[float] | Floats, seed: int, *, draws: int = DRAWS, confidence: float = 0.95
) -> Interval:
    """A mean with its percentile bootstrap interval; mirrored values give the mirrored interval."""
    array = _floats(values)
    # Resampling a canonical orientation makes the result exactly antisymmetric in its input.
    flip = -1.0 if _points_down(array) else 1.0
    means = _resampled_means(array * flip, seed, draws)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    ends = sorted((float(low) * flip, float(high) * flip))
    stderr = float(means.std(ddof=1)) if len(array) > 1 else None
    return Interval(float(array.mean()), stderr, ends[0], ends[1], len(array))


def paired_bootstrap(
    a: Sequence[float] | Floats,
    b: Sequence[float] | Floats,
    seed: int,
    *,
    draws: int = DRAWS,
    confidence: float = 0.95,
) -> Interval:
    """The mean of `b - a` over the same items, with its bootstrap interval over items."""
    first, second = _floats(a), _floats(b)
    if first.shape != second.shape:
        raise ScoreError(f"a paired difference needs equal items: {len(first)} and {len(second)}")
    return bootstrap_interval(second - first, seed, draws=draws, confidence=confidence)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value that two models differ, from the items only one of them gets right.

    Source: McNemar 1947 with the exact binomial null.
    """
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    return float(min(1.0, 2 * tail / 2**n))


def sign_flip_p_value(
    differences: Sequence[float] | Floats, seed: int, *, draws: int = DRAWS
) -> float:
    """Two-sided p-value of a mean paired difference under random exchange of the two models.

    Source: Fisher's randomisation test; the observed arrangement counts as one draw.
    """
    array = _floats(differences)
    generator = np.random.default_rng(seed)
    observed = abs(float(array.sum()))
    slack = 1e-9 * float(np.abs(array).sum())  # ties must not depend on the order of summation
    extreme = 0
    for size in _blocks(draws, len(array)):
        signs = generator.integers(0, 2, size=(size, len(array)), dtype=np.int8) * 2.0 - 1.0
        extreme += int((np.abs(signs @ array) >= observed - slack).sum())
    return (1 + extreme) / (1 + draws)


def holm_confidences(p_values: Sequence[float], confidence: float = 0.95) -> list[float]:
    """How confident each of several intervals must be, so that all hold together at `confidence`.

    Step-down: where the smallest p-value's interval holds 0, no later one says anything.
    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    tests_left = {index: len(order) - rank for rank, index in enumerate(order)}
    return [1 - (1 - confidence) / tests_left[index] for index in range(len(order))]


def compare(
    a: ResultSet, b: ResultSet, task: str, metric: str, seed: int, confidence: float = 0.95
) -> Comparison:
    """The paired difference `b - a` of one score over the items both results hold.

    The p-value is McNemar's exact one where items are right or wrong, else a sign-flip test's.

    Raises:
        ScoreError: the two scores were not measured alike, or share no item.
    """
    check_alike(a, b, task, metric)
    items_a, items_b = items_of(a, task, metric), items_of(b, task, metric)
    shared = sorted(set(items_a) & set(items_b))
    if not shared:
        raise ScoreError(
            f"{a.checkpoint} and {b.checkpoint} share no item of {metric} of {task}",
            "compare results made on the same items, with their samples kept",
        )
    values_a = np.array([items_a[item] for item in shared])
    values_b = np.array([items_b[item] for item in shared])
    difference = paired_bootstrap(values_a, values_b, seed, confidence=confidence)
    right = _right_value(values_a, values_b)
    if right is None:
        p_value, test = sign_flip_p_value(values_b - values_a, seed), "sign-flip p"
    else:
        only_a = int(((values_a == right) & (values_b != right)).sum())
        only_b = int(((values_b == right) & (values_a != right)).sum())
        p_value, test = mcnemar_exact(only_a, only_b), "McNemar exact p"
    assert difference.low is not None
    assert difference.high is not None
    return Comparison(
        benchmark=a.benchmark,
        task=task,
        metric=metric,
        a=a.checkpoint,
        b=b.checkpoint,
        difference=difference.value,
        ci_low=difference.low,
        ci_high=difference.high,
        p_value=p_value,
        n=len(shared),
        method=f"paired bootstrap ({DRAWS} draws, seed {seed}), {test}",
    )


def comparable(a: ResultSet, b: ResultSet, metric: str | None = None) -> list[tuple[str, str]]:
    """(task, metric) of each task's first score, where both results hold samples of it.

    metric: takes each task's score of this name in place of its first.

    Groups of tasks have scores but no samples of their own, and are left out.
    """
    headlines: dict[str, str] = {}
    for score in a.scores:
        if metric in (None, score.metric):
            headlines.setdefault(score.task, score.metric)
    return [pair for pair in headlines.items() if items_of(a, *pair) and items_of(b, *pair)]


def _floats(values: Sequence[float] | Floats) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ScoreError("an interval needs at least one value")
    if not np.isfinite(array).all():
        raise ScoreError("an interval of values that are not numbers", "drop the missing items")
    return array


def _points_down(array: Floats) -> bool:
    total = float(array.sum())
    if total:
        return total < 0
    nonzero = array[array != 0]
    return bool(len(nonzero)) and bool(nonzero[0] < 0)


def _blocks(draws: int, n: int) -> list[int]:
    size = max(1, min(draws, _BLOCK // n))
    return [size] * (draws // size) + ([draws % size] if draws % size else [])


def _resampled_means(array: Floats, seed: int, draws: int) -> Floats:
    generator, n = np.random.default_rng(seed), len(array)
    values, counts = np.unique(array, return_counts=True)
    if len(values) <= _FEW_VALUES:  # the same distribution at a cost that does not grow with n
        drawn = generator.multinomial(n, counts / n, size=draws)
        return np.asarray(drawn @ values / n)
    blocks = [
        array[generator.integers(0, n, size=(size, n))].mean(axis=1) for size in _blocks(draws, n)
    ]
    return np.concatenate(blocks)


def check_alike(a: ResultSet, b: ResultSet, task: str, metric: str) -> None:
    """Raises ScoreError unless both hold the score, measured in the same way."""
    first, second = _score(a, task, metric), _score(b, task, metric)
    facts = {
        "benchmark": (a.benchmark, b.benchmark),
        "scale": (first.scale, second.scale),
        "settings": (dict(first.settings), dict(second.settings)),
        "judge": (a.provenance.get("judge"), b.provenance.get("judge")),
        "data": (_data(a, task), _data(b, task)),
    }
    for fact, (one, other) in facts.items():
        if one != other:
            raise ScoreError(
                f"{metric} of {task} cannot be compared between {a.checkpoint} and "
                f"{b.checkpoint}: {fact} {one} against {other}",
                "measure both in the same way",
            )


def _data(results: ResultSet, task: str) -> Any:
    # A suite of many tasks has one digest for each: only this task's must agree.
    data = results.provenance.get("data")
    return data[task] if isinstance(data, Mapping) and task in data else data


def _score(results: ResultSet, task: str, metric: str) -> Score:
    try:
        return results.score(task, metric)
    except KeyError as error:
        raise ScoreError(f"{results.checkpoint}: {error.args[0]}") from None


def items_of(results: ResultSet, task: str, metric: str) -> dict[str, float]:
    """What each item scored, by its id; empty where no samples are at hand."""
    return {
        sample.id: sample.metrics[metric]
        for sample in results.samples
        if sample.task == task and metric in sample.metrics
    }


def _right_value(a: Floats, b: Floats) -> float | None:
    # 1 or 100 where every item is simply right or wrong, None where credit is partial.
    values = {0.0, *np.unique(a).tolist(), *np.unique(b).tolist()}
    right = max(values) or 1.0
    return right if values <= {0.0, right} and right in (1.0, 100.0) else None
