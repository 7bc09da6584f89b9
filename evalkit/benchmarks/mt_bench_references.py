"""Reference answers from a file in FastChat's format, which keeps them apart from the questions."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.records import Question

_HINT = "a row is {question_id, choices: [{turns: [...]}]}, as in FastChat's reference_answer/"


def with_references(questions: Sequence[Question], file: Path) -> list[Question]:
    """The questions, those in the file with its answers as the references of their turns.

    Source: lm-sys/FastChat, fastchat/llm_judge/common.py, load_model_answers (release 0.2.36).

    Raises:
        RecipeError: the file cannot be read, or knows none of the questions.
    """
    answers = _answers(file)
    if not any(question.id in answers for question in questions):
        raise RecipeError(
            f"{file} has no reference answer for any of the {len(questions)} questions",
            "the question_id of both must be the same",
        )
    return [
        _referenced(question, answers[question.id], file) if question.id in answers else question
        for question in questions
    ]


def _referenced(question: Question, answers: list[str], file: Path) -> Question:
    if len(answers) != len(question.turns):
        raise RecipeError(
            f"{file}: question {question.id} has {len(question.turns)} turns, and"
            f" {len(answers)} reference answers",
            "give one for each turn",
        )
    pairs = zip(question.turns, answers, strict=True)
    return replace(question, turns=tuple(replace(turn, reference=said) for turn, said in pairs))


def _answers(file: Path) -> dict[str, list[str]]:
    """The answers to each question, by its id."""
    try:
        lines = file.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the reference answers {file}: {error}", _HINT) from error
    filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return dict(_answer(line, f"{file}:{number}") for number, line in filled)


def _answer(line: str, where: str) -> tuple[str, list[str]]:
    try:
        row: Any = json.loads(line)
        turns = row["choices"][0]["turns"]
        if all(isinstance(turn, str) for turn in turns):
            return str(row["question_id"]), list(turns)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RecipeError(f"{where}  no reference answer: {error!r}", _HINT) from error
    raise RecipeError(f"{where}  an answer is no text", _HINT)
