"""When a number is AlpacaEval 2's own: its instructions, its baseline, its annotator and model.

The published judge is being retired, so most numbers are not: they go by another task name and
never share a column with the official leaderboard's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.benchmarks.alpaca_eval_files import Side, instruction_text
from evalkit.benchmarks.provenance import judge_label
from evalkit.metrics import alpaca_eval_judge
from evalkit.metrics.alpaca_eval_judge import OFFICIAL_ANNOTATOR
from evalkit.records import Prompt
from evalkit.roles import PluginRef

BASELINE = "gpt4_1106_preview"
ORDER_SEED = 0  # upstream's
OFFICIAL = "official"
HUB_DATASET = "tatsu-lab/alpaca_eval"
DATASET = PluginRef.model_validate(
    {
        "name": "dataset",
        "dataset": HUB_DATASET,
        "files": "alpaca_eval_gpt4_baseline.json",
        "columns": {"category": "dataset"},
    }
)
# sha256 of the JSON lists of the 805 instructions in sorted order, and of their baseline outputs in
# the same order, of that file.
INSTRUCTIONS_SHA256 = "20f6c3480d61c2327bb73c1d37cde5b9dc7c8e9a1fc1cefb8fa901076b435838"
OUTPUTS_SHA256 = "b6da3fefd2fd5aaa8d059fe570b382b1bced81bbd4e0870c52eb5fae28c9ff2e"
_NOT_HERE = ("local", "served here")


def is_dataset(ref: PluginRef) -> bool:
    """Whether a source is AlpacaEval's own file of the Hub; what is taken from it is not looked at.

    `has_official_data` tells whether that is all of it.
    """
    given = ref.options
    return ref.name == DATASET.name and all(
        given.get(key) == DATASET.options[key] for key in ("dataset", "files")
    )


def has_official_data(prompts: Sequence[Prompt], baseline: Side) -> bool:
    """Whether these are AlpacaEval's own 805 instructions with the outputs of its baseline."""
    outputs = dict(zip(map(instruction_text, prompts), baseline.outputs, strict=True))
    if len(outputs) != len(prompts) or _sha256(sorted(outputs)) != INSTRUCTIONS_SHA256:
        return False
    return _sha256([outputs[text] for text in sorted(outputs)]) == OUTPUTS_SHA256


def has_official_judge(identity: Mapping[str, Any]) -> bool:
    """Whether the official annotator judged, with its own model at the model's own maker."""
    pairs = identity.get("pairs")
    return (
        isinstance(pairs, Mapping)
        and pairs.get("annotator") == OFFICIAL_ANNOTATOR
        and pairs.get("as_published") is True
        and identity.get("endpoint") not in _NOT_HERE
    )


def annotator_label(identity: Mapping[str, Any]) -> str:
    """Who judged, as files name it: a configuration's bare name means its own model."""
    pairs = identity.get("pairs")
    if not isinstance(pairs, Mapping) or "annotator" not in pairs:
        return judge_label(identity)
    is_own = pairs.get("as_published") is True and identity.get("endpoint") not in _NOT_HERE
    return alpaca_eval_judge.annotator_label(
        str(pairs["annotator"]), str(identity.get("model")), is_own
    )


def departure(
    prompts: Sequence[Prompt],
    baseline: Side,
    identity: Mapping[str, Any] | None,
    order_seed: int,
) -> str:
    """What keeps a number from being an official one; empty where nothing does.

    identity: of the judge; None where that is not known yet.
    """
    if not has_official_data(prompts, baseline):
        return f"other instructions or another baseline than AlpacaEval's own ({HUB_DATASET})"
    if identity is not None and not has_official_judge(identity):
        return f"judged by {annotator_label(identity)}, not by {OFFICIAL_ANNOTATOR}"
    return f"orders drawn with seed {order_seed}" if order_seed != ORDER_SEED else ""


def _sha256(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
