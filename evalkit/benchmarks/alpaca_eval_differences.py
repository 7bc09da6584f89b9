"""How far two models' length-controlled win rates lie apart, on the same instructions.

These are fitted to all instructions together: a difference is refitted in every draw of a paired
bootstrap, of which means of items know nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from evalkit.errors import ScoreError
from evalkit.metrics.alpaca_eval_data import Auxiliary
from evalkit.metrics.length_controlled import (
    DRAWS,
    MINIMAL_DRAWS,
    Judged,
    length_controlled_difference,
    length_controlled_minimal_difference,
)
from evalkit.records import Comparison, ResultSet, Sample
from evalkit.stats import Interval, check_alike

PUBLISHED, MINIMAL = "length_controlled_winrate", "length_controlled_minimal"


def differences(
    a: ResultSet, b: ResultSet, auxiliary: Auxiliary | None, seed: int
) -> Iterator[Comparison]:
    """Of `b` from `a`, whose samples are there: one, of the form that both have; or none.

    auxiliary: of the published form, None where this machine has none.

    Raises:
        ScoreError: the two were not measured alike; or one is the baseline itself.
    """
    tasks = {score.metric: score.task for score in a.scores}
    both = set(tasks) & {score.metric for score in b.scores}
    first, second = _judged(a), _judged(b)
    if PUBLISHED in both and auxiliary is not None:
        check_alike(a, b, tasks[PUBLISHED], PUBLISHED)
        _require_data(auxiliary, a, b)
        found = length_controlled_difference(first, second, auxiliary, seed)
        yield _comparison(a, b, tasks[PUBLISHED], PUBLISHED, found, f"{DRAWS} draws, seed {seed}")
    elif MINIMAL in both:
        check_alike(a, b, tasks[MINIMAL], MINIMAL)
        found = length_controlled_minimal_difference(first, second, seed)
        draws = f"{MINIMAL_DRAWS} draws, seed {seed}"
        yield _comparison(a, b, tasks[MINIMAL], MINIMAL, found, draws)


def _judged(result: ResultSet) -> Judged:
    samples = result.samples
    return Judged(
        [_preference(sample) for sample in samples],
        [int(sample.metrics["avg_length"]) for sample in samples],
        [len(sample.detail["baseline"]) for sample in samples],
        [sample.id for sample in samples],
    )


def _preference(sample: Sample) -> float | None:
    win_rate = sample.metrics.get("win_rate")
    return None if win_rate is None else 1 + win_rate / 100


def _require_data(auxiliary: Auxiliary, *results: ResultSet) -> None:
    for result in results:
        used = result.provenance.get(PUBLISHED, {}).get("auxiliary_data_sha256")
        if used != dict(auxiliary.origin):
            raise ScoreError(
                f"the length control of {result.checkpoint} was computed with other auxiliary data"
                " than is here now",
                "measure it again, or give the folder that it was measured with",
            )


def _comparison(
    a: ResultSet, b: ResultSet, task: str, metric: str, found: Interval, draws: str
) -> Comparison:
    assert found.low is not None
    assert found.high is not None
    return Comparison(
        benchmark=a.benchmark,
        task=task,
        metric=metric,
        a=a.checkpoint,
        b=b.checkpoint,
        difference=found.value,
        ci_low=found.low,
        ci_high=found.high,
        p_value=_p_value(found),
        n=found.n,
        method=f"paired bootstrap with refit, C held ({draws}), normal p",
    )


def _p_value(found: Interval) -> float:
    """Two-sided, of a normal estimate with the bootstrap's standard error."""
    if not found.stderr:
        return 1.0 if found.value == 0 else 0.0
    return math.erfc(abs(found.value) / found.stderr / math.sqrt(2))
