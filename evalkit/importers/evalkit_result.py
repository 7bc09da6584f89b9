"""Results that evalkit wrote itself: `result.json` of a run's step, or of `evalkit import`.

An imported result keeps the origin it was imported from. One that was measured is, in another's
hands, imported from evalkit's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.importers import reading
from evalkit.records import ResultSet, Sample, from_json
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


def _decoded(file: Path, kind: Any, value: Any) -> Any:
    try:
        return from_json(kind, value)
    except (TypeError, AttributeError, ValueError) as error:
        raise RecipeError(f"{file} is no result of this version of evalkit: {error}") from None
