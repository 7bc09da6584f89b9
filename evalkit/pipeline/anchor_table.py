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

METRIC = "win_rate"


class Standing(NamedTuple):
    """One line: a model's win rate in percent by the judge, and an anchor's official one."""

    model: str
    is_anchor: bool
    win_rate: Mapping[str, Any]
    n: int
    missing: int
    official_win_rate: float | None


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

    Raises:
        RecipeError: a run has no AlpacaEval result.
        ScoreError: a result is by another judge, or against other baseline outputs.
    """
    lines = [
        Standing(
            one["name"], True, one["win_rate"], one["n"], one["missing"], one["official_win_rate"]
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
            lines.append(_standing(result, run))
    return sorted(lines, key=lambda line: -line.win_rate["value"])


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


def _standing(result: Mapping[str, Any], run: Path) -> Standing:
    score = next(one for one in result["scores"] if one["metric"] == METRIC)
    limits = {key: score[key] for key in ("value", "stderr", "ci_low", "ci_high")}
    name = f"{run.resolve().name}:{result['checkpoint']}"
    return Standing(name, False, limits, score["n"], score["missing"], None)
