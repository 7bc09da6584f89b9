"""FastChat's questions and answers: `question.jsonl`, `model_answer/` and `reference_answer/`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import json_rows
from evalkit.errors import EvalkitError, RecipeError
from evalkit.records import Question

_HINT = "a row is {question_id, choices: [{turns: [...]}]}, as in FastChat's reference_answer/"


class Answers(NamedTuple):
    """One model's answers to each turn, by question; the model as the file is called."""

    model: str
    turns: Mapping[str, tuple[str, ...]]


def read_answers(file: Path) -> Answers:
    """The first choice of every answer in a file; the last row of a question counts.

    Source: lm-sys/FastChat, fastchat/llm_judge/common.py, load_model_answers (release 0.2.36).

    Raises:
        RecipeError: the file cannot be read, or a row is no answer.
    """
    try:
        rows = json_rows.placed_rows(file)
    except EvalkitError as error:
        raise RecipeError(error.message, _HINT) from error
    name = file.name.removesuffix(".gz").removesuffix(".jsonl")
    return Answers(name, dict(_answer(row, where) for where, row in rows))


def _answer(row: Mapping[str, Any], where: str) -> tuple[str, tuple[str, ...]]:
    try:
        turns = row["choices"][0]["turns"]
        if isinstance(turns, list) and all(isinstance(turn, str) for turn in turns):
            return str(row["question_id"]), tuple(turns)
    except (KeyError, IndexError, TypeError) as error:
        raise RecipeError(f"{where}  this is no answer: {error!r}", _HINT) from error
    raise RecipeError(f"{where}  an answer is no text", _HINT)


def with_references(questions: Sequence[Question], file: Path) -> list[Question]:
    """The questions, those in the file with its answers as the references of their turns.

    Raises:
        RecipeError: the file cannot be read, or knows none of the questions.
    """
    known = read_answers(file).turns
    if not any(question.id in known for question in questions):
        raise RecipeError(
            f"{file} has no reference answer for any of the {len(questions)} questions",
            "the question_id of both must be the same",
        )
    return with_known_references(questions, file)


def with_known_references(questions: Sequence[Question], file: Path) -> list[Question]:
    """As `with_references`, of questions that may all need none."""
    answers = read_answers(file).turns
    return [
        _referenced(question, answers[question.id], file) if question.id in answers else question
        for question in questions
    ]


def _referenced(question: Question, answers: Sequence[str], file: Path) -> Question:
    if len(answers) != len(question.turns):
        raise RecipeError(
            f"{file}: question {question.id} has {len(question.turns)} turns, and"
            f" {len(answers)} reference answers",
            "give one for each turn",
        )
    pairs = zip(question.turns, answers, strict=True)
    return replace(question, turns=tuple(replace(turn, reference=said) for turn, said in pairs))


def question_row(question: Question) -> dict[str, Any]:
    """A row of `question.jsonl`."""
    row: dict[str, Any] = {
        "question_id": fastchat_id(question.id),
        "category": question.category,
        "turns": [turn.content for turn in question.turns],
    }
    if has_reference(question):
        row["reference"] = [turn.reference or "" for turn in question.turns]
    return row


def answer_row(question_id: str, model: str, turns: Sequence[str]) -> dict[str, Any]:
    """A row of `model_answer/` or `reference_answer/`.

    The time that FastChat adds is left out and the id is a digest, so that equal answers give
    equal bytes.
    """
    digest = hashlib.sha256(json.dumps([question_id, model, list(turns)]).encode())
    return {
        "question_id": fastchat_id(question_id),
        "answer_id": digest.hexdigest()[:22],
        "model_id": model,
        "choices": [{"index": 0, "turns": list(turns)}],
    }


def has_reference(question: Question) -> bool:
    """Whether any of its turns has a reference answer."""
    return any(turn.reference for turn in question.turns)


def fastchat_id(identity: str) -> int | str:
    """A question's id as FastChat has it: a number where it is one."""
    return int(identity) if identity.isdecimal() else identity
