"""How far two models' length-controlled win rates lie apart, as `compare` tells it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from length_controlled_parts import judged, made_up, rows

from evalkit.benchmarks.alpaca_eval import AlpacaEval
from evalkit.cli import main
from evalkit.errors import ScoreError
from evalkit.metrics import alpaca_eval_data
from evalkit.metrics.length_controlled import (
    Judged,
    length_controlled_minimal,
    length_controlled_winrate,
)
from evalkit.metrics.win_rate import win_rate_scores
from evalkit.records import ResultSet, Sample

PUBLISHED, MINIMAL = "length_controlled_winrate", "length_controlled_minimal"


def result(name: str, found: Judged, controlled: Any, judge: str = "j") -> ResultSet:
    """What measuring leaves behind of these judgements."""
    scores = win_rate_scores("alpaca_eval_2", found.preferences, found.lengths, {}, controlled)
    samples = [
        Sample(
            str(number),
            "alpaca_eval_2",
            {"avg_length": float(ours)}
            | ({} if preference is None else {"win_rate": 100 * (preference - 1)}),
            {"baseline": "x" * theirs},
        )
        for number, (preference, ours, theirs) in enumerate(
            zip(found.preferences, found.lengths, found.baseline_lengths, strict=True)
        )
    ]
    provenance = {"judge": judge, **controlled.description()}
    return ResultSet("alpaca_eval", name, "", tuple(scores), provenance, tuple(samples))


def suite(auxiliary: Path | None = None) -> AlpacaEval:
    options = {"instructions": {"name": "pocket"}, "auxiliary": auxiliary}
    return AlpacaEval(AlpacaEval.Options.model_validate(options))


def minimal(seed: int) -> ResultSet:
    found = made_up(seed)[0]
    arguments = (found.preferences, found.lengths, found.baseline_lengths)
    return result(f"m{seed}", found, length_controlled_minimal(*arguments, 0))


@pytest.mark.slow
def test_published_rates_as_evalkit_score_tells_them(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two models with all rows judged, from their recorded judgements."""
    gold = shared / "golden" / "alpaca"
    auxiliary = alpaca_eval_data.read(gold)
    names = ("gemma-7b-it", "vicuna-13b-v1.5")
    a, b = (
        result(name, found, length_controlled_winrate(found, auxiliary, 0, draws=20))
        for name in names
        if (found := judged(rows(gold / f"{name}.jsonl.gz")))
    )
    (found,) = suite(gold).fitted_differences(a, b, 0)
    assert (found.task, found.metric) == ("alpaca_eval_2", PUBLISHED)
    gain = b.score("alpaca_eval_2", PUBLISHED).value - a.score("alpaca_eval_2", PUBLISHED).value
    assert found.difference == pytest.approx(gain, abs=1e-9)
    files = [str(gold / f"{name}.jsonl.gz") for name in reversed(names)]
    with contextlib.suppress(SystemExit):
        main(["score", "alpaca-eval", files[0], "--aux", str(gold), "--against", files[1],
              "--json"])  # fmt: skip
    told = json.loads(capsys.readouterr().out)["against"]
    assert (found.ci_low, found.ci_high) == pytest.approx((told["ci_low"], told["ci_high"]))
    assert 0 <= found.p_value <= 1
    assert "refit" in found.method
    other = {PUBLISHED: {"auxiliary_data_sha256": {"df_gamed.csv": "other"}}}
    with pytest.raises(ScoreError, match="computed with other auxiliary data"):
        list(suite(gold).fitted_differences(a, replace(b, provenance={"judge": "j", **other}), 0))
    assert list(suite().fitted_differences(a, b, 0)) == []  # the data is not on this machine


def test_the_minimal_form_elsewhere() -> None:
    a, b = minimal(1), minimal(2)
    (found,) = suite().fitted_differences(a, b, 0)
    (back,) = suite().fitted_differences(b, a, 0)
    assert found.metric == MINIMAL
    gain = b.score("alpaca_eval_2", MINIMAL).value - a.score("alpaca_eval_2", MINIMAL).value
    assert found.difference == pytest.approx(gain)
    assert (back.ci_low, back.ci_high) == pytest.approx((-found.ci_high, -found.ci_low))
    assert found.p_value == pytest.approx(back.p_value)
    (itself,) = suite().fitted_differences(a, replace(a, checkpoint="again"), 0)
    assert (itself.difference, itself.ci_low, itself.ci_high, itself.p_value) == (0, 0, 0, 1)


def test_pairing_makes_the_interval_narrower() -> None:
    """Two models that find the same instructions hard: what they share cancels out."""
    found = made_up(3)[0]
    better = [min(2.0, (p or 0) + 0.05) for p in found.preferences]
    a, b = (
        result(name, one, length_controlled_minimal(one[0], one[1], one[2], 0))
        for name, one in (("a", found), ("b", found._replace(preferences=better)))
    )
    (one,) = suite().fitted_differences(a, b, 0)
    alone = a.score("alpaca_eval_2", MINIMAL)
    assert alone.ci_high is not None
    assert alone.ci_low is not None
    assert one.ci_high - one.ci_low < 0.5 * (alone.ci_high - alone.ci_low)


def test_what_was_judged_otherwise_is_not_compared() -> None:
    a, b = minimal(1), minimal(2)
    with pytest.raises(ScoreError, match="judge j against k"):
        list(suite().fitted_differences(a, replace(b, provenance={"judge": "k"}), 0))
    with pytest.raises(ScoreError, match="different instructions"):
        list(suite().fitted_differences(a, replace(b, samples=b.samples[:-1]), 0))
    plain = replace(a, scores=a.scores[:1])
    assert list(suite().fitted_differences(plain, b, 0)) == []
