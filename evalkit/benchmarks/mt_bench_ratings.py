"""MT-Bench's numbers from recorded ratings, and FastChat's files: no model and no judge.

FastChat writes -1 for a judgement that failed. That mark exists only in its files:
here such a rating is None and counted as missing.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.benchmarks.provenance import write_jsonl
from evalkit.records import Question
from evalkit.stats import Interval, clustered_mean_interval

FAILED = -1  # FastChat's mark, in its own files only


class Rating(NamedTuple):
    """The judge's rating (1 to 10) of one answer; None where it failed. turn counts from 1."""

    question_id: str
    category: str
    turn: int
    score: float | None
    judgment: str = ""


class RatingSummary(NamedTuple):
    """A mean over valid ratings with its interval, and how many ratings failed."""

    interval: Interval
    missing: int


def summarise(ratings: Sequence[Rating]) -> dict[str, RatingSummary]:
    """`average`, `turn_1`, `turn_2`, ..., then each `category_<name>`; none without ratings.

    Each is the mean of all valid ratings it covers, so `average` is not the mean of the
    turns where some failed, and repeated judgements count as often as they are there.
    Intervals take all ratings of one question as one observation.

    Source: lm-sys/FastChat, fastchat/llm_judge/show_result.py (release 0.2.36).
    """
    turns = sorted({rating.turn for rating in ratings})
    categories = sorted({rating.category for rating in ratings if rating.category})
    parts: dict[str, Callable[[Rating], bool]] = {"average": lambda rating: True}
    parts |= {f"turn_{turn}": _of_turn(turn) for turn in turns}
    parts |= {f"category_{name}": _of_category(name) for name in categories}
    found = {
        name: _summary([rating for rating in ratings if chosen(rating)])
        for name, chosen in parts.items()
    }
    return {name: summary for name, summary in found.items() if summary is not None}


def _of_turn(turn: int) -> Callable[[Rating], bool]:
    return lambda rating: rating.turn == turn


def _of_category(category: str) -> Callable[[Rating], bool]:
    return lambda rating: rating.category == category


def _summary(ratings: Sequence[Rating]) -> RatingSummary | None:
    valid = [rating for rating in ratings if rating.score is not None]
    if not valid:
        return None
    values = [float(rating.score) for rating in valid if rating.score is not None]
    interval = clustered_mean_interval(values, [rating.question_id for rating in valid])
    return RatingSummary(interval.clipped(1, 10), len(ratings) - len(valid))


def write_files(
    folder: Path,
    model: str,
    judge: str,
    prompt_name: str,
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
    judgment_rows = [_judgment_row(rating, model, judge, prompt_name) for rating in ratings]
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


def _judgment_row(rating: Rating, model: str, judge: str, prompt_name: str) -> dict[str, Any]:
    name = prompt_name if rating.turn == 1 else f"{prompt_name}-multi-turn"
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
