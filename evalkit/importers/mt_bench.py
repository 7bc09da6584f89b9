"""MT-Bench judgements as lm-sys/FastChat writes them: `model_judgment/*_single.jsonl`.

Single-answer grading: a row per answer with `question_id`, `turn`, `judge` and `score`, where
-1 marks a judgement that failed. Files without `model` are taken to be named after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.importers import reading
from evalkit.metrics.ratings import Rating, rating_scores
from evalkit.records import ResultSet, Sample
from evalkit.roles import Imported, Importer

TOOL = "FastChat"
FAILED = -1
QUESTIONS_FILE = "question.jsonl"
# Source: lm-sys/FastChat, fastchat/llm_judge/data/mt_bench/question.jsonl (release 0.2.36):
# questions 81 to 160, ten of each category in this order.
CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem",
              "humanities")  # fmt: skip
_FIRST_QUESTION, _PER_CATEGORY = 81, 10


class MtBenchImporter(Importer):
    """Mean ratings from recorded judgements, computed as the live benchmark computes them."""

    def recognises(self, path: Path) -> bool:
        """By the keys of its first row."""
        if not path.is_file() or ".jsonl" not in path.name:
            return False
        return {"question_id", "turn", "judge", "score"} <= set(reading.first_row(path))

    def read(self, path: Path) -> list[Imported]:
        """One result per model in the file."""
        categories = _categories(path)
        by_model: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        for number, row in enumerate(reading.rows(path), start=1):
            name = str(row.get("model") or reading.stem(path))
            by_model.setdefault(name, []).append((f"{path}: row {number}", row))
        return [_imported(path, model, rows, categories) for model, rows in by_model.items()]


PLUGIN = MtBenchImporter


def _imported(
    file: Path,
    model: str,
    rows: Sequence[tuple[str, dict[str, Any]]],
    categories: Mapping[str, str],
) -> Imported:
    ratings = [_rating(where, row, categories) for where, row in rows]
    if all(rating.score is None for rating in ratings):
        raise RecipeError(f"{file}: all {len(ratings)} judgements of {model} failed")
    provenance = {
        "harness": "FastChat llm_judge",
        "protocol": "MT-Bench single-answer grading; numbers computed by evalkit from the ratings",
        "data": {"questions": len({rating.question_id for rating in ratings})},
        "judge": _judge(file, [row for _, row in rows]),
        "intervals": "95 %: Student over questions, all ratings of one taken together",
        "imported": reading.origin(TOOL, file, model),
    }
    scores = tuple(rating_scores("mt_bench", ratings, {}))
    return Imported(model, ResultSet("mt_bench", "", "", scores, provenance, _samples(ratings)))


def _rating(where: str, row: Mapping[str, Any], categories: Mapping[str, str]) -> Rating:
    score, turn = reading.number(row, "score", where), reading.number(row, "turn", where)
    if turn is None or turn < 1 or turn != int(turn):
        raise RecipeError(f"{where}: 'turn' is {row['turn']!r}; turns count from 1")
    question = str(row.get("question_id"))
    category = str(row.get("category") or categories.get(question) or _standard(question))
    return Rating(question, category, int(turn), None if score == FAILED else score)


def _standard(question: str) -> str:
    place = int(question) - _FIRST_QUESTION if question.isdecimal() else -1
    return CATEGORIES[place // _PER_CATEGORY] if 0 <= place < 80 else ""


def _categories(file: Path) -> dict[str, str]:
    """Of the questions in FastChat's data folder, where the judgements still lie in it."""
    questions = file.parent.parent / QUESTIONS_FILE
    if not questions.is_file():
        return {}
    rows = reading.rows(questions)
    return {str(row.get("question_id")): str(row.get("category") or "") for row in rows}


def _judge(file: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Who judged, and by which prompts."""
    stated = [row["judge"] if isinstance(row["judge"], list) else [row["judge"]] for row in rows]
    names = sorted({str(judge[0]) for judge in stated if judge})
    if len(names) > 1:
        raise RecipeError(
            f"{file}: several judges rated one model: {', '.join(names)}",
            "split the file: ratings of different judges have no common mean",
        )
    prompts = sorted({str(judge[1]) for judge in stated if len(judge) > 1})
    return {
        "name": names[0] if names else "not stated",
        **({"prompts": prompts} if prompts else {}),
    }


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
