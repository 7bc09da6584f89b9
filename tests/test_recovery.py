"""Recovery of a quantized model: shares, paired intervals, the mean of a suite."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.contamination.overlap import TrainingText, texts_with_items
from evalkit.errors import ScoreError
from evalkit.metrics.recovery import Recovery, Stratum, Task, recoveries
from evalkit.pipeline import recovery
from evalkit.pipeline.conversations import Conversation, for_calibration, held_out
from evalkit.recipe import Recipe
from evalkit.roles import EvaluationItem


def right_or_wrong(rate: float, n: int, seed: int) -> list[float]:
    return (100.0 * (np.random.default_rng(seed).random(n) < rate)).tolist()


def flipped(values: list[float], part: float, seed: int) -> list[float]:
    flips = np.random.default_rng(seed).random(len(values)) < part
    return [100.0 - v if flip else v for v, flip in zip(values, flips, strict=True)]


def one_task(parent: list[float], variant: list[float], **more: float) -> Task:
    return Task("arc", (Stratum(parent, variant),), top=100.0, **more)


def test_share_is_the_variants_score_over_the_parents() -> None:
    parent, variant = [100.0, 100.0, 0.0, 100.0], [100.0, 0.0, 0.0, 100.0]
    line, mean = recoveries([one_task(parent, variant)], seed=0)
    assert (line.parent, line.variant, line.n) == (75.0, 50.0, 4)
    assert line.share == pytest.approx(2 / 3)
    assert mean.share == pytest.approx(2 / 3)


def test_a_lossless_variant_has_an_interval_of_no_width() -> None:
    parent = right_or_wrong(0.6, 500, seed=1)
    line, _ = recoveries([one_task(parent, parent)], seed=0)
    assert (line.share, line.low, line.high) == (1.0, 1.0, 1.0)


def test_the_interval_is_paired() -> None:
    """Few flips give a narrow interval, however uncertain the scores themselves are."""
    parent = right_or_wrong(0.5, 1000, seed=2)
    line, _ = recoveries([one_task(parent, flipped(parent, 0.01, seed=3))], seed=0)
    assert line.low is not None
    assert line.high is not None
    assert line.high - line.low < 0.04  # unpaired it would be about 0.18
    assert line.low <= line.share <= line.high  # type: ignore[operator]


def test_intervals_cover_the_true_share() -> None:
    """Of 300 variants that lose 5 % of right answers, the interval holds 0.95 about as often."""
    held = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        parent = 100.0 * (generator.random(400) < 0.6)
        variant = np.where(generator.random(400) < 0.05, 0.0, parent)
        line, _ = recoveries([one_task(parent.tolist(), variant.tolist())], seed, draws=400)
        assert line.low is not None
        assert line.high is not None
        held += line.low <= 0.95 <= line.high
    assert 270 <= held <= 299


def test_partial_credit_is_resampled_by_item() -> None:
    parent = np.random.default_rng(0).uniform(0, 100, 200)
    same = one_task(parent.tolist(), (0.9 * parent).tolist())
    line, _ = recoveries([same], seed=0, draws=500)
    assert line.share == pytest.approx(0.9)
    assert line.low == pytest.approx(0.9)
    assert line.high == pytest.approx(0.9)


def test_the_mean_weighs_tasks_alike_whatever_their_scale_and_size() -> None:
    arc = one_task([100.0] * 90 + [0.0] * 10, [100.0] * 45 + [0.0] * 55)  # 90 -> 45
    mt_bench = Task("mt_bench", (Stratum([6.0, 8.0], [6.0, 8.0]),), top=10.0)  # 7 -> 7
    *_, mean = recoveries([arc, mt_bench], seed=0)
    assert mean.parent == pytest.approx((90 + 70) / 2)
    assert mean.variant == pytest.approx((45 + 70) / 2)
    assert mean.n == 102


def test_strata_weigh_as_told_and_guessing_counts_as_nothing() -> None:
    half, all_right = [100.0, 0.0, 100.0, 0.0], [100.0] * 4
    task = Task(
        "bbh", (Stratum(all_right, half, 3.0), Stratum(half, half, 1.0, guessing=0.5)), top=100.0
    )
    line, _ = recoveries([task], seed=0)
    assert line.parent == pytest.approx(75.0)  # 3/4 of 100, 1/4 of what half is above guessing: 0
    assert line.variant == pytest.approx(37.5)


def test_no_share_of_nothing() -> None:
    line, mean = recoveries([one_task([0.0, 0.0], [0.0, 100.0])], seed=0)
    assert line.share is None
    assert mean.low is None


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(ScoreError, match="item by item"):
        recoveries([], seed=0)
    with pytest.raises(ScoreError, match="arc has items without a score"):
        recoveries([one_task([], [])], seed=0)
    with pytest.raises(ScoreError, match="arc has items without a score"):
        recoveries([one_task([1.0, float("nan")], [1.0, 1.0])], seed=0)


def test_the_same_seed_gives_the_same_interval() -> None:
    parent = right_or_wrong(0.5, 300, seed=4)
    task = one_task(parent, flipped(parent, 0.1, seed=5))
    assert recoveries([task], seed=1) == recoveries([task], seed=1)
    assert recoveries([task], seed=1) != recoveries([task], seed=2)


# --- the step of a run ---


def average(low: float | None, high: float | None) -> dict[str, Any]:
    share = None if low is None else (low + high) / 2  # type: ignore[operator]
    line = Recovery("Average", 0.5, 0.5, share, low, high, 100)
    return {"digest": "d", "average": line._asdict()}


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [(0.90, 0.98, True), (0.98, 0.995, False), (0.99, 1.01, False), (None, None, False)],
)
def test_only_an_interval_below_what_is_asked_ends_the_run(
    low: float | None, high: float | None, ends: bool
) -> None:
    why = recovery.why_not_on(0.99, "iter2-w4a16_rtn", "iter2", average(low, high))
    assert (why is not None) == ends
    if why is not None:
        assert "iter2-w4a16_rtn keeps 94.0 % [90.0, 98.0] of the suite average" in why.message
        assert "--set recovery.min=0.98" in (why.hint or "")
        assert recovery.why_not_on(0.98, "v", "p", average(low, high)) is None


def test_without_a_gate_nothing_ends() -> None:
    assert recovery.why_not_on(None, "v", "p", average(0.1, 0.2)) is None


def test_an_interval_that_leaves_it_open_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    recovery.warn_of(0.99, average(0.97, 1.0)["average"], "v", "p")
    assert "leaves it open" in capsys.readouterr().err
    recovery.warn_of(0.99, average(0.99, 1.0)["average"], "v", "p")
    recovery.warn_of(None, average(0.5, 1.0)["average"], "v", "p")
    assert capsys.readouterr().err == ""
    recovery.warn_of(0.99, None, "v", "p")
    assert "nothing was measured" in capsys.readouterr().err


def test_a_gate_needs_variants_and_benchmarks() -> None:
    base = {"builder": {"name": "pocket"}}
    card = {"title": "M", "license": "mit"}
    given = {"name": "M", "base": base, "card": card, "recovery": {"min": 0.99}}
    nothing = Recipe.model_validate(given)
    assert [one.message for one in recovery.check(nothing)] == [
        "a gate of recovery needs variants, and there are none"
    ]
    variants = Recipe.model_validate({**given, "variants": ["fp8_dynamic"]})
    assert "benchmarks" in next(recovery.check(variants)).message


def test_no_conversation_is_both_seen_and_held_out() -> None:
    found = [Conversation((1, 2), (10 + index,)) for index in range(23)]
    seen = [ids[-1] for ids in for_calibration(found)]
    kept = [one.response_token_ids[0] for one in held_out(found, most=100)]
    assert kept == [14, 19, 24, 29]
    assert sorted(seen + kept) == list(range(10, 33))
    assert len(held_out(found, most=2)) == 2
    assert held_out([Conversation((1,), ())] * 10, most=5) == []
    assert len(list(for_calibration(found[:4]))) == 4  # of few, none is held out


def test_a_run_tells_what_each_variant_keeps(micro_run: Path) -> None:
    for name in ("iter2-w4a16_gptq", "iter2-fp8_dynamic"):
        folder = micro_run / "run" / "steps" / f"{name}-recovery"
        found = recovery.read_recovery(folder)
        labels = [line["label"] for line in found["lines"]]
        assert labels[-1] == "Average"
        assert len(labels) == 5
        for line in found["lines"][:-1]:
            assert line["share"] == pytest.approx(line["variant"] / line["parent"])
        perplexity = found["perplexity"]
        assert perplexity["conversations"] == 9  # every fifth of 48
        assert perplexity["variant"] == pytest.approx(perplexity["parent"], rel=0.05)


def test_no_evaluation_item_calibrates() -> None:
    question = " ".join(f"word{number}" for number in range(20))
    items = [EvaluationItem("q1", "arc", (question,)), EvaluationItem("q2", "arc", ("yes no",))]
    texts = [
        TrainingText("holds", f"Please say: {question}!", ("Yes, no.",)),
        TrainingText("spans", " ".join(f"word{n}" for n in range(7)), (question[42:],)),
        TrainingText("half", " ".join(f"word{n}" for n in range(12)), ("yes no",)),
    ]
    assert texts_with_items(items, texts, 13) == {"holds", "spans"}
