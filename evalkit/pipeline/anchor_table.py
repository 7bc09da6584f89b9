"""Models among anchors that the same judge has judged: a table of that judge alone.

Official figures stand in a column of their own, for anchors only: another judge's do not compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import json_rows
from evalkit.errors import RecipeError, ScoreError
from evalkit.pipeline.evaluation import RESULT
from evalkit.pipeline.judge_calibration import FIGURES
from evalkit.rundir import STEPS

METRIC, LENGTH_CONTROLLED = "win_rate", "length_controlled_winrate"


class Standing(NamedTuple):
    """One line: a model's rates in percent by the judge, and an anchor's official ones.

    length_controlled_winrate: None where the instructions or the auxiliary data have none.
    """

    model: str
    is_anchor: bool
    win_rate: Mapping[str, Any]
    length_controlled_winrate: Mapping[str, Any] | None
    n: int
    missing: int
    official_win_rate: float | None
    official_length_controlled_winrate: float | None


def read_calibration(folder: Path) -> dict[str, Any]:
    """What `evalkit judge calibrate` has written into a folder.

    Raises:
        RecipeError: it has written nothing there.
    """
    file = folder / FIGURES
    if not file.is_file():
        raise RecipeError(
            f"{folder} holds no {FIGURES}", "evalkit judge calibrate --out DIR writes one"
        )
    return json_rows.mapping(file)


def among_anchors(calibration: Mapping[str, Any], runs: Sequence[Path]) -> list[Standing]:
    """All anchors and the checkpoints of finished runs, best first.

    By the length-controlled win rate, as AlpacaEval ranks, where all have one; else by the other.

    Raises:
        RecipeError: a run has no AlpacaEval result.
        ScoreError: a result is by another judge, or against other baseline outputs.
    """
    lines = [
        Standing(
            one["name"],
            True,
            one["win_rate"],
            one["length_controlled_winrate"],
            one["n"],
            one["missing"],
            one["official_win_rate"],
            one["official_length_controlled_winrate"],
        )
        for one in calibration["anchors"]
    ]
    for run in runs:
        files = sorted((run / STEPS).glob(f"*/{RESULT}"))
        results = [json_rows.mapping(file) for file in files]
        found = [one for one in results if one.get("benchmark") == "alpaca_eval"]
        if not found:
            raise RecipeError(f"{run} has no result of alpaca_eval", "measure it first")
        for result in found:
            _require_alike(calibration, result, run)
            lines.append(_standing(result, run, calibration["length_controlled"]))
    controlled = all(line.length_controlled_winrate for line in lines)
    rate = LENGTH_CONTROLLED if controlled else METRIC
    return sorted(lines, key=lambda line: -getattr(line, rate)["value"])


def _require_alike(calibration: Mapping[str, Any], result: Mapping[str, Any], run: Path) -> None:
    provenance = result["provenance"]
    facts = {
        "judge": (calibration["judge_digest"], provenance.get("judge_digest")),
        "baseline": (calibration["baseline_digest"], provenance["data"].get("baseline_digest")),
    }
    for fact, (anchors, own) in facts.items():
        if anchors != own:
            shown = _shown(fact, calibration, provenance)
            raise ScoreError(
                f"{result['checkpoint']} of {run} does not stand among these anchors: another"
                f" {fact} ({shown})",
                "calibrate with the very judge and baseline of the run: evalkit judge calibrate"
                " --recipe",
            )


def _shown(fact: str, calibration: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    if fact == "baseline":
        return f"{provenance['data'].get('baseline')}, or other outputs or instructions of it"
    ours, theirs = provenance.get("judge") or {}, calibration["judge"]
    keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    return f"its {', '.join(sorted(keys))} differ"


def _standing(result: Mapping[str, Any], run: Path, control: Mapping[str, Any] | None) -> Standing:
    """control: what `calibration.json` says of the anchors' length control."""
    scores = {one["metric"]: one for one in result["scores"]}
    score = scores[METRIC]
    # Other auxiliary data would make it another number than the anchors'.
    own = result["provenance"].get(LENGTH_CONTROLLED, {}).get("auxiliary_data_sha256")
    alike = control is not None and own == control["auxiliary_data_sha256"]
    name = f"{run.resolve().name}:{result['checkpoint']}"
    return Standing(
        name,
        False,
        _limits(score),
        _limits(scores[LENGTH_CONTROLLED]) if alike and LENGTH_CONTROLLED in scores else None,
        score["n"],
        score["missing"],
        None,
        None,
    )


def _limits(score: Mapping[str, Any]) -> dict[str, Any]:
    return {key: score[key] for key in ("value", "stderr", "ci_low", "ci_high")}
