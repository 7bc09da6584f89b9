"""What `evalkit import` does: reads results of other tools, and keeps them as records in a folder.

DIR/MODEL/BENCHMARK-DIGEST/ holds `samples.jsonl` and, written last, `result.json`, as a run's step
that measures. DIGEST is that of the source file: importing again writes the same folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.durable import write_json, write_text
from evalkit.errors import RecipeError, did_you_mean
from evalkit.pipeline.evaluation import RESULT, SAMPLES
from evalkit.pipeline.result_files import Reading, read
from evalkit.records import ResultSet, dumps, to_json

_NO_WORD = re.compile(r"[^A-Za-z0-9._-]+")


class Kept(NamedTuple):
    """One result that was found; `folder` is where it was written, None if nowhere."""

    file: Path
    model: str
    result: ResultSet
    folder: Path | None

    def described(self) -> dict[str, Any]:
        """As JSON values."""
        imported = self.result.provenance["imported"]
        return {
            "file": str(self.file),
            "tool": imported["tool"],
            "sha256": imported["sha256"],
            "model": self.model,
            "benchmark": self.result.benchmark,
            "provenance": to_json(self.result.provenance),
            "scores": to_json(self.result.scores),
            "samples": len(self.result.samples),
            "folder": str(self.folder) if self.folder else None,
        }


def import_results(
    paths: Sequence[Path],
    out: Path | None,
    *,
    importer: str | None = None,
    names: Sequence[str] = (),
    model: str | None = None,
) -> list[Kept]:
    """Every result in the files and folders; all are read before one is written.

    names: of models, as the files call them; by default all. model: the id of the only one.

    Raises:
        RecipeError: a path holds nothing that an importer recognises, a file is damaged, a name
            is in no file, or `model` is to name several.
    """
    readings = _named(read(paths, importer), names)
    if model is not None:
        readings = [_as_model(one, model) for one in _of_one(readings)]
    kept = [
        Kept(one.file, one.imported.model, one.imported.result, None if out is None else place)
        for one, place in zip(readings, _places(out or Path(), readings), strict=True)
    ]
    for one in kept:
        if one.folder is not None:
            lines = "".join(f"{dumps(sample)}\n" for sample in one.result.samples)
            write_text(one.folder / SAMPLES, lines)
            write_json(one.folder / RESULT, to_json(replace(one.result, samples=())))
    return kept


def _named(readings: Sequence[Reading], names: Sequence[str]) -> list[Reading]:
    known = sorted({one.imported.model for one in readings})
    for name in names:
        if name not in known:
            raise RecipeError(f"no result is of a model called '{name}'", did_you_mean(name, known))
    return [one for one in readings if not names or one.imported.model in names]


def _of_one(readings: Sequence[Reading]) -> Sequence[Reading]:
    known = sorted({one.imported.model for one in readings})
    if len(known) > 1:
        raise RecipeError(
            f"the results are of {len(known)} models, and --model names one",
            f"choose with --as NAME: {', '.join(known[:10])}{', ...' if len(known) > 10 else ''}",
        )
    return readings


def _as_model(one: Reading, model: str) -> Reading:
    """The same result under the model's own id; what the file calls it is kept."""
    result = one.imported.result
    imported = {**result.provenance["imported"], "model_id": model}
    told = replace(result, provenance={**result.provenance, "imported": imported})
    return Reading(one.file, one.imported._replace(model=model, result=told))


def _places(out: Path, readings: Sequence[Reading]) -> Iterator[Path]:
    """A folder for each, told apart by the digest of the source file."""
    taken: dict[Path, Reading] = {}
    for one in readings:
        digest = str(one.imported.result.provenance["imported"]["sha256"])
        name = f"{_word(one.imported.result.benchmark)}-{digest[:12]}"
        place = out / _word(one.imported.model) / name
        other = taken.setdefault(place, one)
        if other is not one:
            raise RecipeError(
                f"{other.file} and {one.file} would be written to one folder, {place}",
                "import them into two, or leave one out: are they the same file?",
            )
        yield place


def _word(name: str) -> str:
    """A name as one part of a path: of a path on somebody's machine, the last part."""
    last = name.rstrip("/").rpartition("/")[2] if name.startswith(("/", "~", ".")) else name
    return _NO_WORD.sub("__", last.replace("/", "__")).strip("._") or "model"
