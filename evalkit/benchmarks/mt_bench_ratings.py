"""FastChat's files of an MT-Bench run: questions, answers and ratings.

FastChat writes -1 for a judgement that failed. That mark exists only in its files:
here such a rating is None and counted as missing.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.benchmarks.provenance import write_jsonl
from evalkit.metrics.ratings import REFERENCE_CATEGORIES, Rating
from evalkit.records import Question

FAILED = -1  # FastChat's mark, in its own files only


def write_files(
    folder: Path,
    model: str,
    judge: str,
    questions: Sequence[Question],
    answers: Sequence[Sequence[str]],
    ratings: Sequence[Rating],
) -> None:
    """Questions, reference answers, answers and judgments, laid out as FastChat's data folder.

    Times are left out and ids are digests, so that equal results give equal bytes.
    """
    write_jsonl(folder / "question.jsonl", [_question_row(question) for question in questions])
    answer_rows = [
        _answer_row(question.id, model, turns)
        for question, turns in zip(questions, answers, strict=True)
    ]
    write_jsonl(folder / "model_answer" / f"{_file_name(model)}.jsonl", answer_rows)
    references = [question for question in questions if _has_reference(question)]
    if references:
        write_jsonl(
            folder / "reference_answer" / "reference.jsonl",
            [
                _answer_row(q.id, "reference", [turn.reference or "" for turn in q.turns])
                for q in references
            ],
        )
    judgment_rows = [_judgment_row(rating, model, judge) for rating in ratings]
    file = folder / "model_judgment" / f"{_file_name(judge)}_single.jsonl"
    write_jsonl(file, judgment_rows)


def _question_row(question: Question) -> dict[str, Any]:
    row: dict[str, Any] = {
        "question_id": _fastchat_id(question.id),
        "category": question.category,
        "turns": [turn.content for turn in question.turns],
    }
    if _has_reference(question):
        row["reference"] = [turn.reference or "" for turn in question.turns]
    return row


def _answer_row(question_id: str, model: str, turns: Sequence[str]) -> dict[str, Any]:
    name = hashlib.sha256(json.dumps([question_id, model, list(turns)]).encode())
    return {
        "question_id": _fastchat_id(question_id),
        "answer_id": name.hexdigest()[:22],
        "model_id": model,
        "choices": [{"index": 0, "turns": list(turns)}],
    }


def _judgment_row(rating: Rating, model: str, judge: str) -> dict[str, Any]:
    # What FastChat calls the form that such a question is rated with.
    form = "single-math-v1" if rating.category in REFERENCE_CATEGORIES else "single-v1"
    name = form if rating.turn == 1 else f"{form}-multi-turn"
    return {
        "question_id": _fastchat_id(rating.question_id),
        "category": rating.category,
        "model": model,
        "judge": [judge, name],
        "user_prompt": "",
        "judgment": rating.judgment,
        "score": FAILED if rating.score is None else rating.score,
        "turn": rating.turn,
    }


def _has_reference(question: Question) -> bool:
    return any(turn.reference for turn in question.turns)


def _fastchat_id(identity: str) -> int | str:
    return int(identity) if identity.isdecimal() else identity


def _file_name(name: str) -> str:
    return name.replace("/", "__")
