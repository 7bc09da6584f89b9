"""AlpacaEval annotations as tatsu-lab/alpaca_eval writes them, or in compact recorded form.

Win rates are computed from the preferences as the live benchmark computes them; the
length-controlled one too, where the Hub's auxiliary data is on this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError, ScoreError
from evalkit.importers import reading
from evalkit.importers.alpaca_eval_annotations import Annotation, Annotations, read
from evalkit.metrics import alpaca_eval_data
from evalkit.metrics.length_controlled import SEED, LengthControlled, length_controlled_winrate
from evalkit.metrics.win_rate import is_missing, preferred, win_rate_scores
from evalkit.records import ResultSet, Sample
from evalkit.roles import Imported, Importer

TOOL = "alpaca_eval"
NO_LENGTH_CONTROL = (
    "absent: the published form needs AlpacaEval's instruction difficulties and gamed outputs"
)


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
        return [_imported(annotations) for annotations in read(path)]


PLUGIN = AlpacaEvalImporter


def _imported(annotations: Annotations) -> Imported:
    file, task, baseline = annotations.file, annotations.task, annotations.baseline
    settings = {"baseline": baseline} if baseline else {}
    try:
        controlled = _length_controlled(annotations)
        scores = win_rate_scores(
            task, annotations.preferences, annotations.output_lengths, settings, controlled
        )
    except ScoreError as error:
        raise RecipeError(f"{file}: {error.message}", error.hint) from error
    known = {"judge": annotations.judge, "baseline": baseline}
    provenance: dict[str, Any] = {
        "harness": TOOL,
        "protocol": "AlpacaEval pairwise; numbers computed by evalkit from the preferences",
        "data": {"instructions": dict(annotations.datasets)},
        "intervals": "95 %: Student for the win rate",
        "imported": reading.origin(TOOL, file, annotations.model),
    }
    if controlled is None:
        provenance["length_controlled_winrate"] = NO_LENGTH_CONTROL
    else:
        provenance |= controlled.description()
    if annotations.judge:
        provenance["judge"] = {"name": annotations.judge}
    if not all(known.values()):
        provenance["not_stated"] = ", ".join(what for what, name in known.items() if not name)
    samples = tuple(_sample(task, one) for one in annotations.rows)
    result = ResultSet("alpaca_eval", "", "", tuple(scores), provenance, samples)
    return Imported(annotations.model, result)


def _length_controlled(annotations: Annotations) -> LengthControlled | None:
    """The published one, of AlpacaEval's own instructions and by its own auxiliary data only."""
    judged = annotations.judged()
    if not annotations.official or judged is None or alpaca_eval_data.prefetched_file() is None:
        return None
    return length_controlled_winrate(
        judged, alpaca_eval_data.read(), SEED, is_baseline=annotations.of_the_baseline
    )


def _sample(task: str, one: Annotation) -> Sample:
    metrics = {} if one.length is None else {"avg_length": float(one.length)}
    if not is_missing(one.preference):
        metrics["win_rate"] = 100 * preferred([one.preference])[0]
    return Sample(one.id, task, metrics)
