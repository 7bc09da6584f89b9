"""Results that evalkit wrote itself: `result.json` of a run's step, or of `evalkit import`.

An imported result keeps the origin it was imported from. One that was measured is, in another's
hands, imported from evalkit's file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.importers import reading
from evalkit.metrics.harness import is_number
from evalkit.records import ResultSet, Sample, Score, from_json
from evalkit.roles import Imported, Importer

TOOL = "evalkit"
RESULT, SAMPLES = "result.json", "samples.jsonl"
_KEYS = {"benchmark", "checkpoint", "checkpoint_digest", "scores", "provenance"}


class EvalkitResultImporter(Importer):
    """Scores and samples from evalkit's own result files."""

    def recognises(self, path: Path) -> bool:
        """By the file's name and its keys."""
        if path.name != RESULT or not path.is_file():
            return False
        try:
            return set(reading.mapping(path)) >= _KEYS
        except RecipeError:
            return False

    def read(self, path: Path) -> list[Imported]:
        """The one result of the file, with the samples beside it."""
        result = _decoded(path, ResultSet, reading.mapping(path))
        if not isinstance(result.provenance, Mapping) or not isinstance(result.benchmark, str):
            raise RecipeError(f"{path}: 'benchmark' or 'provenance' is not what evalkit writes")
        _require_numbers(path, (*result.scores, *result.clean_scores))
        samples = path.with_name(SAMPLES)
        if samples.is_file() and samples.stat().st_size:
            rows = reading.rows(samples)
            found = tuple(_decoded(samples, Sample, row) for row in rows)
        else:
            found = ()
        imported = result.provenance.get("imported")
        if not isinstance(imported, Mapping):
            imported = reading.origin(TOOL, path, result.checkpoint)
        provenance = {**result.provenance, "imported": imported}
        model = str(imported.get("model_id") or imported.get("model") or "")
        told = ResultSet(
            result.benchmark, "", "", result.scores, provenance, found, result.clean_scores
        )
        return [Imported(model, told)]


PLUGIN = EvalkitResultImporter


def _require_numbers(file: Path, scores: Sequence[Score]) -> None:
    """Refuses what is no score, though it has a score's fields."""
    for one in scores:
        limits = (one.stderr, one.ci_low, one.ci_high)
        named = isinstance(one.task, str) and isinstance(one.metric, str)
        numbers = [one.value, *(limit for limit in limits if limit is not None)]
        counted = one.n is None or type(one.n) is int
        if not (named and counted and all(is_number(number) for number in numbers)):
            raise RecipeError(f"{file}: {one.metric} of {one.task} is no score")


def _decoded(file: Path, kind: Any, value: Any) -> Any:
    try:
        return from_json(kind, value)
    except (TypeError, AttributeError, ValueError) as error:
        raise RecipeError(f"{file} is no result of this version of evalkit: {error}") from None
