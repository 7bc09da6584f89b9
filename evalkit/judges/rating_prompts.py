"""How good an answer is, asked as FastChat's llm_judge asks it: single-answer grading, 1 to 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.chat_client import ChatAnswer
from evalkit.fastchat.forms import (
    REFERENCE_CATEGORIES,
    SINGLE_FORMS,
    Form,
    rating_messages,
    read_judge_prompts,
)
from evalkit.fastchat.forms import (
    WHERE_TO_GET as WHERE_TO_GET,
)
from evalkit.metrics.ratings import parse_rating
from evalkit.records import Message, Question
from evalkit.roles import RatingRequest, Verdict

TURNS = 2


class RatingPrompts(NamedTuple):
    """The four forms by name, and the digest of their file."""

    forms: Mapping[str, Form]
    sha256: str

    def filled(self, request: RatingRequest) -> tuple[Message, ...]:
        """The conversation that asks for a rating of the last answer, seen in its conversation."""
        return rating_messages(self.forms, request.question, request.answers)


def read_rating_prompts(where: str | Path) -> RatingPrompts:
    """The forms of single-answer grading in a judge_prompts.jsonl, or in a folder or Space of it.

    Raises:
        PrerequisiteError: there is no such file.
        RecipeError: it cannot be read, or a form is missing or asks for what is not there.
    """
    found = read_judge_prompts(str(where))
    return RatingPrompts(found.forms(SINGLE_FORMS), found.sha256)


def obstacle(question: Question, turn: int) -> str:
    """Why an answer to this turn cannot be judged; empty if it can."""
    if not 1 <= turn <= min(TURNS, len(question.turns)):
        return f"turn {turn} of question {question.id} has no form: there are forms for two turns"
    if question.category not in REFERENCE_CATEGORIES:
        return ""
    without = [n for n in range(1, turn + 1) if not question.turns[n - 1].reference]
    if not without:
        return ""
    where = f"turn {without[0]} of question {question.id} ({question.category})"
    return f"{where} has no reference answer"


def obstacles(questions: Sequence[Question]) -> list[str]:
    """The obstacles of every turn; '' of one that can be judged."""
    return [obstacle(q, turn) for q in questions for turn in range(1, len(q.turns) + 1)]


def rating_verdict(answer: ChatAnswer) -> Verdict:
    """The rating in a judgment, read as FastChat reads it; the judgment is the Verdict's reason.

    A number outside 1 to 10 is no rating here; FastChat averages it in.
    """
    if answer.text is None:
        return Verdict(None, answer.reason)
    rating = parse_rating(answer.text)
    if rating is None:
        return Verdict(None, f"no rating in the judgment: {answer.text}")
    if not 1 <= rating <= 10:
        return Verdict(None, f"a rating outside 1 to 10 in the judgment: {answer.text}")
    return Verdict(rating, answer.text)
