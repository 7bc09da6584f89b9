"""AlpacaEval annotations as tatsu-lab/alpaca_eval writes them, or in compact recorded form.

`annotations.json`: a list of rows with `preference`, `output_1/2` and `generator_1/2`, the
model being number 2. Compact: rows with `preference`, `len_model` and `len_reference`, each
model in a file of its name.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import RecipeError
from evalkit.importers import reading
from evalkit.metrics.alpaca_eval_judge import OFFICIAL_ANNOTATOR, task_by
from evalkit.metrics.length_controlled import Judged

# Source: the five parts of AlpacaEval's 805 instructions, huggingface.co/datasets/tatsu-lab/
# alpaca_eval; with them alone a number is AlpacaEval's, whatever the baseline.
OFFICIAL = frozenset({"helpful_base", "koala", "oasst", "selfinstruct", "vicuna"})
OUTPUTS_FILE = "model_outputs.json"


class Annotation(NamedTuple):
    """One judged instruction: preference from 1 (baseline) to 2 (model), lengths in characters."""

    id: str
    preference: float | None
    length: int | None
    baseline_length: int | None
    dataset: str


class Annotations(NamedTuple):
    """One model's annotations, in the file's order; names are empty where nothing says them.

    output_lengths: of the model's outputs, judged or not.
    """

    file: Path
    model: str
    baseline: str
    judge: str
    rows: tuple[Annotation, ...]
    output_lengths: tuple[int, ...]

    @property
    def preferences(self) -> list[float | None]:
        """From 1 to 2; None of a failed judgement."""
        return [row.preference for row in self.rows]

    @property
    def datasets(self) -> Mapping[str, int]:
        """How many instructions are of which part of the instruction set."""
        return dict(sorted(Counter(row.dataset for row in self.rows).items()))

    @property
    def official(self) -> bool:
        """Whether these are AlpacaEval's own instructions."""
        return set(self.datasets) <= OFFICIAL

    @property
    def task(self) -> str:
        """AlpacaEval's own instructions and judge, or others': their numbers share no column.

        A file that does not name its judge is taken for an official one.
        """
        if self.official:
            return task_by(self.judge or OFFICIAL_ANNOTATOR)
        names = list(self.datasets)
        return f"alpaca_eval_{names[0] if len(names) == 1 else 'mixed'}"

    @property
    def of_the_baseline(self) -> bool:
        """Whether the file says that the model is the baseline."""
        return self.model == self.baseline

    def judged(self) -> Judged | None:
        """What a length-controlled win rate is computed from; None where a length is not known."""
        lengths = [row.length for row in self.rows if row.length is not None]
        theirs = [row.baseline_length for row in self.rows if row.baseline_length is not None]
        if not len(lengths) == len(theirs) == len(self.rows):
            return None
        return Judged(self.preferences, lengths, theirs, [row.id for row in self.rows])


def read(file: Path) -> list[Annotations]:
    """The annotations of each model in the file.

    Raises:
        RecipeError: the file is damaged, or what rows of one model say does not fit together.
    """
    by_model: dict[str, list[dict[str, Any]]] = {}
    for index, row in enumerate(reading.rows(file)):
        name = str(row.get("generator_2") or reading.stem(file))
        by_model.setdefault(name, []).append({**row, "row": index})
    return [_annotations(file, model, rows) for model, rows in by_model.items()]


def _annotations(file: Path, model: str, rows: Sequence[dict[str, Any]]) -> Annotations:
    found = tuple(_annotation(file, row) for row in rows)
    lengths = _output_lengths(file, model) or [
        one.length for one in found if one.length is not None
    ]
    baseline, judge = _one(rows, "generator_1", file), _one(rows, "annotator", file)
    return Annotations(file, model, baseline, judge, found, tuple(lengths))


def _annotation(file: Path, row: dict[str, Any]) -> Annotation:
    where = f"{file}: row {row['row'] + 1}"
    preference = reading.number(row, "preference", where)
    if "instruction_id" in row:
        identity = str(row["instruction_id"])
    else:
        text = str(row.get("instruction", row["row"]))
        identity = hashlib.sha256(text.encode()).hexdigest()[:16]
    length = _length(row, "output_2", "len_model", where)
    if length is None and "len_model" not in row and "output_2" not in row:
        raise RecipeError(f"{where} has no 'len_model'")
    baseline_length = _length(row, "output_1", "len_reference", where)
    dataset = str(row.get("dataset") or "own")
    return Annotation(identity, preference, length, baseline_length, dataset)


def _length(row: Mapping[str, Any], output: str, stated: str, where: str) -> int | None:
    if isinstance(row.get(output), str):
        return len(row[output])
    length = reading.number(row, stated, where) if stated in row else None
    return None if length is None else int(length)


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
