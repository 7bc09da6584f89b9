"""What a calibration says, as JSON values: figures of each anchor, of all together, and notes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evalkit import __version__
from evalkit.benchmarks.alpaca_eval_files import Side
from evalkit.benchmarks.alpaca_eval_judging import Preference
from evalkit.benchmarks.alpaca_eval_official import annotator_label
from evalkit.fingerprint import fingerprint
from evalkit.metrics.calibration import AnchorRate, Calibration, Rates, calibration
from evalkit.metrics.win_rate import is_missing, preferred
from evalkit.pipeline import anchor_lengths
from evalkit.pipeline.judge_audit import Judgement, of_verdicts
from evalkit.records import to_json

if TYPE_CHECKING:
    from evalkit.pipeline.judge_calibration import Ready

FEW = 5  # anchors below which an order says little


def figures_of(
    ready: Ready,
    given: Mapping[str, Mapping[str, Preference]],
    identity: Mapping[str, Any],
    judgements: Sequence[Judgement],
) -> dict[str, Any]:
    """All that `calibration.json` holds.

    given: what the judge prefers, by anchor and instruction. identity: the judge's.
    """
    names = [anchor.name for anchor in ready.anchors]
    preferences = {
        name: {text: one.value for text, one in by_text.items()} for name, by_text in given.items()
    }
    new_MN = _table(preferences, names, ready.texts)
    official_MN = _table(ready.official.preferences, names, ready.texts)
    whole = ready.options.limit is None
    # Of some of the instructions, a published figure of all of them is no fair counterpart.
    stated = [
        ready.official.win_rates.get(name) if whole or np.isnan(official_MN[row]).all() else None
        for row, name in enumerate(names)
    ]
    found = calibration(new_MN, official_MN, stated, ready.options.seed)
    lengths = anchor_lengths.controlled(
        ready.anchors,
        preferences,
        ready.official,
        anchor_lengths.Controlled(ready.texts, ready.baseline, ready.auxiliary, ready.options.seed),
    )
    return {
        "what": "AlpacaEval outputs of anchor models, judged by another judge than the official",
        "evalkit": __version__,
        "judge": identity,
        "judge_digest": fingerprint(identity),
        "annotator": annotator_label(identity),
        "official_judge": ready.official.annotator or "not stated",
        "baseline": ready.baseline.name,
        "baseline_digest": Side(
            ready.baseline.name, tuple(ready.baseline.outputs[text] for text in ready.texts)
        ).digest,
        "instructions": len(ready.texts),
        "seed": ready.options.seed,
        "intervals": "95 %, paired bootstrap over instructions; which models are anchors is given",
        "anchors": [
            {
                **_anchor_row(ready, name, row, preferences[name], found),
                **_length_controlled(lengths.of(name)),
            }
            for row, name in enumerate(names)
        ],
        **_together(found.win_rates),
        "agreement": _limits(found.agreement),
        "kappa": _limits(found.kappa),
        "length_controlled": None
        if lengths.rates is None
        else {**_together(lengths.rates), "auxiliary_data_sha256": dict(lengths.auxiliary)},
        "verdicts": of_verdicts([one.verdict for one in judgements]),
        "notes": [*_notes(ready), *lengths.notes],
    }


def _together(rates: Rates) -> dict[str, Any]:
    return {key: _limits(getattr(rates, key)) for key in ("spearman", "kendall", "offset")}


def _length_controlled(one: AnchorRate | None) -> dict[str, Any]:
    return {
        "length_controlled_winrate": None if one is None else _limits(one.rate),
        "official_length_controlled_winrate": None if one is None else one.official,
        "length_controlled_offset": None if one is None else _limits(one.offset),
    }


def _notes(ready: Ready) -> list[str]:
    """What a reader must know beside the figures."""
    found = ["official figures are another judge's: never put both in one column"]
    if len(ready.anchors) < FEW:
        found.append(
            f"{len(ready.anchors)} anchors say little of an order: {FEW} or more, from weak to"
            " strong, say more"
        )
    by_figure = [a.name for a in ready.anchors if a.name not in ready.official.preferences]
    if by_figure:
        found.append(
            "known by their official win rate alone, so that offsets are not paired and no"
            f" agreement is told: {', '.join(by_figure)}"
        )
    if by_figure and ready.options.limit is not None:
        found.append("these win rates are of all instructions, and not of those drawn here")
    return found


def _anchor_row(
    ready: Ready,
    name: str,
    row: int,
    preferences: Mapping[str, float | None],
    found: Calibration,
) -> dict[str, Any]:
    figures = found.win_rates.anchors[row]
    outputs = ready.anchors[row].outputs
    return {
        "name": name,
        "win_rate": _limits(figures.rate),
        "official_win_rate": figures.official,
        "offset": _limits(figures.offset),
        "agreement": _limits(found.agreements[row]),
        "n": sum(not is_missing(value) for value in preferences.values()),
        "missing": sum(is_missing(value) for value in preferences.values()),
        "avg_length": int(np.mean([len(outputs[text]) for text in preferences])),
        "outputs_sha256": hashlib.sha256(json.dumps(to_json(outputs)).encode()).hexdigest(),
    }


def _table(
    preferences: Mapping[str, Mapping[str, float | None]], names: Sequence[str], texts: list[str]
) -> NDArray[np.float64]:
    """Win probabilities, a row per model and a column per instruction; NaN where none is known."""
    return np.array(
        [
            [_win_probability(preferences.get(name, {}).get(text)) for text in texts]
            for name in names
        ]
    )


def _win_probability(preference: float | None) -> float:
    return math.nan if is_missing(preference) else preferred([preference])[0]


def _limits(interval: Any) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {
        "value": interval.value,
        "stderr": interval.stderr,
        "ci_low": interval.low,
        "ci_high": interval.high,
    }
