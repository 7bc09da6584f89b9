"""AlpacaEval annotations as tatsu-lab/alpaca_eval writes them, or in compact recorded form.

`annotations.json`: a list of rows with `preference`, `output_1/2` and `generator_1/2`, the
model being number 2. Compact: rows with `preference`, `len_model` and `len_reference`, each
model in a file of its name.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import RecipeError, ScoreError
from evalkit.importers import reading
from evalkit.metrics.win_rate import is_missing, preferred, win_rate_scores
from evalkit.records import ResultSet, Sample
from evalkit.roles import Imported, Importer

TOOL = "alpaca_eval"
# Source: the five parts of AlpacaEval's 805 instructions, huggingface.co/datasets/tatsu-lab/
# alpaca_eval; with them alone a number is AlpacaEval's, whatever the baseline.
OFFICIAL = frozenset({"helpful_base", "koala", "oasst", "selfinstruct", "vicuna"})
OUTPUTS_FILE = "model_outputs.json"
NO_LENGTH_CONTROL = (
    "absent: the published form needs AlpacaEval's instruction difficulties and gamed outputs"
)


class Annotation(NamedTuple):
    """One judged instruction: preference from 1 (baseline) to 2 (model), length in characters."""

    id: str
    preference: float | None
    length: int | None
    dataset: str


class AlpacaEvalImporter(Importer):
    """Win rates from recorded preferences, computed as the live benchmark computes them."""

    def recognises(self, path: Path) -> bool:
        """By the keys of its rows."""
        if not path.is_file() or ".json" not in path.name:
            return False
        beginning = reading.head(path)
        if beginning.lstrip().startswith("["):
            return all(
                f'"{key}"' in beginning for key in ("output_2", "generator_2", "instruction")
            )
        row = reading.first_row(path)
        return "preference" in row and ("len_model" in row or "output_2" in row)

    def read(self, path: Path) -> list[Imported]:
        """One result per model in the file."""
        by_model: dict[str, list[dict[str, Any]]] = {}
        for index, row in enumerate(reading.rows(path)):
            name = str(row.get("generator_2") or reading.stem(path))
            by_model.setdefault(name, []).append({**row, "row": index})
        return [_imported(path, model, rows) for model, rows in by_model.items()]


PLUGIN = AlpacaEvalImporter


def _imported(file: Path, model: str, rows: Sequence[dict[str, Any]]) -> Imported:
    annotations = [_annotation(file, row) for row in rows]
    baseline, judge = _one(rows, "generator_1", file), _one(rows, "annotator", file)
    datasets = Counter(one.dataset for one in annotations)
    task = _task(datasets)
    settings = {"baseline": baseline} if baseline else {}
    preferences = [one.preference for one in annotations]
    lengths = _output_lengths(file, model) or [
        one.length for one in annotations if one.length is not None
    ]
    try:
        scores = win_rate_scores(task, preferences, lengths, settings, None)
    except ScoreError as error:
        raise RecipeError(f"{file}: {error.message}", error.hint) from error
    unknown = [what for what, known in (("judge", judge), ("baseline", baseline)) if not known]
    provenance: dict[str, Any] = {
        "harness": TOOL,
        "protocol": "AlpacaEval pairwise; numbers computed by evalkit from the preferences",
        "data": {"instructions": dict(sorted(datasets.items()))},
        "intervals": "95 %: Student for the win rate",
        "length_controlled_winrate": NO_LENGTH_CONTROL,
        "imported": reading.origin(TOOL, file, model),
    }
    if judge:
        provenance["judge"] = {"name": judge}
    if unknown:
        provenance["not_stated"] = ", ".join(unknown)
    samples = tuple(_sample(task, one) for one in annotations)
    return Imported(model, ResultSet("alpaca_eval", "", "", tuple(scores), provenance, samples))


def _annotation(file: Path, row: dict[str, Any]) -> Annotation:
    where = f"{file}: row {row['row'] + 1}"
    preference = reading.number(row, "preference", where)
    output = row.get("output_2")
    if isinstance(output, str):
        length: int | None = len(output)
    else:
        stated = reading.number(row, "len_model", where)
        length = None if stated is None else int(stated)
    if "instruction_id" in row:
        identity = str(row["instruction_id"])
    else:
        text = str(row.get("instruction", row["row"]))
        identity = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Annotation(identity, preference, length, str(row.get("dataset") or "own"))


def _task(datasets: Counter[str]) -> str:
    """AlpacaEval's own instructions, or somebody's: their numbers share no column."""
    if set(datasets) <= OFFICIAL:
        return "alpaca_eval"
    return f"alpaca_eval_{next(iter(datasets)) if len(datasets) == 1 else 'mixed'}"


def _one(rows: Sequence[dict[str, Any]], key: str, file: Path) -> str:
    """What all rows say under `key`; empty where none says anything."""
    found = sorted({str(row[key]) for row in rows if row.get(key)})
    if len(found) > 1:
        raise RecipeError(
            f"{file}: rows of one model differ in '{key}': {', '.join(found)}",
            "split the file: such preferences have no common win rate",
        )
    return found[0] if found else ""


def _output_lengths(file: Path, model: str) -> list[int]:
    """Of all the model's outputs, judged or not, over which alpaca_eval takes the mean length."""
    for folder in (file.parent, file.parent.parent):
        outputs = folder / OUTPUTS_FILE
        if outputs.is_file():
            rows = [row for row in reading.rows(outputs) if row.get("generator", model) == model]
            return [len(str(row["output"])) for row in rows if row.get("output") is not None]
    return []


def _sample(task: str, one: Annotation) -> Sample:
    metrics = {} if one.length is None else {"avg_length": float(one.length)}
    if not is_missing(one.preference):
        metrics["win_rate"] = 100 * preferred([one.preference])[0]
    return Sample(one.id, task, metrics)
