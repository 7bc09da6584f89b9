"""AlpacaEval's files: outputs of models, annotations and a leaderboard's row, as upstream has them.

Source: tatsu-lab/alpaca_eval, main.py and annotators/base.py (release 0.6.6), and the results that
it publishes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.benchmarks.alpaca_eval_judging import Preference
from evalkit.benchmarks.provenance import write_json
from evalkit.errors import RecipeError
from evalkit.metrics.length_controlled import LengthControlled
from evalkit.metrics.win_rate import win_rate_summary
from evalkit.records import Prompt
from evalkit.roles import Verdict

OUTPUTS_FILE = "model_outputs.json"
ANNOTATIONS_FILE = "annotations.json"
LEADERBOARD_FILE = "leaderboard.csv"
GOLD = "gold"
_HINT = "it must be a list of {instruction, output, generator}"


class Side(NamedTuple):
    """A model's outputs, one per instruction. name: as files call it under `generator`."""

    name: str
    outputs: tuple[str, ...]

    @property
    def digest(self) -> str:
        """sha256 of what it says."""
        return hashlib.sha256(json.dumps(self.outputs).encode()).hexdigest()

    @property
    def lengths(self) -> list[int]:
        """Characters of each output."""
        return [len(output) for output in self.outputs]


class Judged(NamedTuple):
    """All that was asked and found out: the rows of AlpacaEval's files.

    edition: `dataset` of instructions that name none. annotator: who judged, as files call it.
    signature: what pins the judge, in columns of every row.
    """

    prompts: Sequence[Prompt]
    model: Side
    baseline: Side
    preferences: Sequence[Preference]
    edition: str
    annotator: str
    signature: Mapping[str, Any]


def instruction_text(prompt: Prompt) -> str:
    """An instruction as one text, which is how AlpacaEval's files know it."""
    return "\n\n".join(message.content for message in prompt.messages)


def gold_side(prompts: Sequence[Prompt]) -> Side:
    """The instructions' own reference responses.

    Raises:
        RecipeError: some have none.
    """
    without = [prompt.id for prompt in prompts if prompt.gold is None]
    if without:
        raise RecipeError(
            f"{len(without)} instructions have no reference response, first {without[0]}",
            "name a model_outputs.json as the baseline",
        )
    return Side(GOLD, tuple(str(prompt.gold) for prompt in prompts))


def side_of_file(file: Path, prompts: Sequence[Prompt]) -> Side:
    """The outputs of a model_outputs.json, found by the texts of the instructions.

    Raises:
        RecipeError: it is none, or lacks an instruction.
    """
    rows = read_outputs(file)
    outputs = {row["instruction"]: row["output"] for row in rows}
    texts = [instruction_text(prompt) for prompt in prompts]
    without = [text for text in texts if text not in outputs]
    if without:
        raise RecipeError(
            f"{file.name} has no output for {len(without)} instructions, first {without[0]!r:.80}",
            "it must answer every instruction",
        )
    names = sorted({str(row.get("generator", file.stem)) for row in rows})
    return Side("+".join(names), tuple(outputs[text] for text in texts))


def read_outputs(file: Path) -> list[dict[str, Any]]:
    """The rows of a model_outputs.json.

    Raises:
        RecipeError: it cannot be read, or is none.
    """
    try:
        rows = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from error
    if not isinstance(rows, list) or not rows:
        raise RecipeError(f"{file} holds no model outputs", _HINT)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise RecipeError(f"{file}: row {number} is not an object", _HINT)
        for key in ("instruction", "output"):
            if not isinstance(row.get(key), str):
                raise RecipeError(f"{file}: row {number} has no text '{key}'", _HINT)
    return rows


def unreadable(file: Path, error: Exception) -> RecipeError:
    """The error for a file of outputs that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) else error
    return RecipeError(f"cannot read the outputs {file}: {reason}", _HINT)


def write_files(folder: Path, judged: Judged, controlled: LengthControlled | None) -> None:
    """Writes all three into `folder`."""
    outputs, annotations = [], []
    rows = zip(
        judged.prompts,
        judged.model.outputs,
        judged.baseline.outputs,
        judged.preferences,
        strict=True,
    )
    for prompt, output, reference, preference in rows:
        shared = {
            "dataset": prompt.category or judged.edition,
            "instruction": instruction_text(prompt),
        }
        outputs.append({**shared, "output": output, "generator": judged.model.name})
        annotations.append(
            {
                **shared,
                "output_1": reference,
                "generator_1": judged.baseline.name,
                "output_2": output,
                "generator_2": judged.model.name,
                "annotator": judged.annotator,
                "preference": preference.value,
                "price_per_example": preference.usd,
                "time_per_example": None,  # a fact of a run, not of its result
                "raw_completion": _raw_completion(preference.verdict),
                **judged.signature,
                "judge_answered_as": preference.verdict.by if preference.verdict else None,
            }
        )
    write_json(folder / OUTPUTS_FILE, outputs)
    write_json(folder / ANNOTATIONS_FILE, annotations)
    (folder / LEADERBOARD_FILE).write_text(_leaderboard(judged, controlled), encoding="utf-8")


def _raw_completion(verdict: Verdict | None) -> Any:
    """What upstream's parsers read again: the text, or the choice with its log-probabilities."""
    if verdict is None or not isinstance(verdict.said, Mapping):
        return None if verdict is None else verdict.said
    rows = [
        {"token": token, "logprob": value if math.isfinite(value) else -9999.0}
        for token, value in sorted(verdict.said.items(), key=lambda item: -item[1])
    ]
    text = rows[0]["token"]
    return {
        "index": 0,
        "finish_reason": None,
        "logprobs": {"content": [{**rows[0], "top_logprobs": rows}]},
        "message": {"content": text, "role": "assistant"},
        "text": text,
        "total_tokens": verdict.tokens_in + verdict.tokens_out,
    }


def _leaderboard(judged: Judged, controlled: LengthControlled | None) -> str:
    """One row with the columns of upstream's leaderboards."""
    values = [preference.value for preference in judged.preferences]
    summary = win_rate_summary(values, judged.model.lengths)
    row: dict[str, Any] = {
        "": judged.model.name,
        "win_rate": summary.win_rate,
        "standard_error": summary.standard_error,
        "n_wins": summary.n_wins,
        "n_wins_base": summary.n_wins_base,
        "n_draws": summary.n_draws,
        "n_total": summary.n_total,
        "discrete_win_rate": summary.discrete_win_rate,
        "mode": "community",
        "avg_length": summary.avg_length,
    }
    if controlled is not None and controlled.metric == "length_controlled_winrate":
        row["length_controlled_winrate"] = controlled.win_rate.value
        row["lc_standard_error"] = controlled.published_stderr
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerow(row)
    return text.getvalue()
