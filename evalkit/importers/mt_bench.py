"""MT-Bench judgements as lm-sys/FastChat writes them: `model_judgment/*_single.jsonl`.

Single-answer grading, a row per answer; -1 marks a judgement that failed. Files without `model`
are taken to be named after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.fastchat.judgments import JudgedRating, kind_of, one_judge, read_ratings
from evalkit.importers import reading
from evalkit.metrics.ratings import Rating, rating_scores
from evalkit.records import ResultSet, Sample
from evalkit.roles import Imported, Importer

TOOL = "FastChat"


class MtBenchImporter(Importer):
    """Mean ratings from recorded judgements, computed as the live benchmark computes them."""

    def recognises(self, path: Path) -> bool:
        """By the keys of its first row."""
        return path.is_file() and ".jsonl" in path.name and kind_of(path) == "single"

    def read(self, path: Path) -> list[Imported]:
        """One result per model in the file."""
        by_model: dict[str, list[JudgedRating]] = {}
        for judged in read_ratings(path):
            by_model.setdefault(judged.model, []).append(judged)
        return [_imported(path, model, judged) for model, judged in by_model.items()]


PLUGIN = MtBenchImporter


def _imported(file: Path, model: str, judged: Sequence[JudgedRating]) -> Imported:
    ratings = [one.rating for one in judged]
    if all(rating.score is None for rating in ratings):
        raise RecipeError(f"{file}: all {len(ratings)} judgements of {model} failed")
    provenance = {
        "harness": "FastChat llm_judge",
        "protocol": "MT-Bench single-answer grading; numbers computed by evalkit from the ratings",
        "data": {"questions": len({rating.question_id for rating in ratings})},
        "judge": _judge(file, judged),
        "intervals": "95 %: Student over questions, all ratings of one taken together",
        "imported": reading.origin(TOOL, file, model),
    }
    scores = tuple(rating_scores("mt_bench", ratings, {}))
    return Imported(model, ResultSet("mt_bench", "", "", scores, provenance, _samples(ratings)))


def _judge(file: Path, judged: Sequence[JudgedRating]) -> dict[str, Any]:
    """Who judged, and by which prompts."""
    prompts = sorted({one.prompt for one in judged if one.prompt})
    name = one_judge(str(file), [one.judge for one in judged])
    return {"name": name, **({"prompts": prompts} if prompts else {})}


def _samples(ratings: Sequence[Rating]) -> tuple[Sample, ...]:
    """One per question: the means of its valid ratings, over all turns and per turn."""
    scores: dict[str, dict[str, list[float]]] = {}
    for rating in ratings:
        if rating.score is not None:
            found = scores.setdefault(rating.question_id, {})
            for name in ("average", f"turn_{rating.turn}"):
                found.setdefault(name, []).append(rating.score)
    return tuple(
        Sample(question, "mt_bench", {name: sum(v) / len(v) for name, v in metrics.items()})
        for question, metrics in scores.items()
    )
