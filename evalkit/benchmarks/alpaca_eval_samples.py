"""What AlpacaEval found out, instruction by instruction."""

from __future__ import annotations

from typing import NamedTuple

from evalkit.benchmarks.alpaca_eval_files import Judged, Side, instruction_text
from evalkit.benchmarks.alpaca_eval_judging import Preference
from evalkit.metrics.win_rate import is_missing
from evalkit.records import Prompt, Sample


class Answers(NamedTuple):
    """The model's side. ended: how each output ended; empty where others made them."""

    side: Side
    ended: tuple[str, ...] = ()


def samples(task: str, found: Judged, answers: Answers) -> list[Sample]:
    """One per instruction, with what was shown and said; unjudged ones without a win rate."""
    ended = answers.ended or (None,) * len(found.prompts)
    rows = zip(
        found.prompts,
        found.model.outputs,
        ended,
        found.baseline.outputs,
        found.preferences,
        strict=True,
    )
    return [_sample(task, *row) for row in rows]


def _sample(
    task: str,
    prompt: Prompt,
    output: str,
    ended: str | None,
    reference: str,
    preference: Preference,
) -> Sample:
    metrics = {"avg_length": float(len(output))}
    if preference.value is not None and not is_missing(preference.value):
        metrics["win_rate"] = 100 * (preference.value - 1)
    detail = {
        "prompt": instruction_text(prompt),
        "response": output,
        "finish_reason": ended,
        "baseline": reference,
        "model_shown_first": preference.model_first,
        "reason": preference.reason,
    }
    return Sample(prompt.id, task, metrics, detail)
