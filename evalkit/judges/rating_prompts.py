"""How good an answer is, asked as FastChat's llm_judge asks it: single-answer grading, 1 to 10."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

from evalkit.chat_client import ChatAnswer
from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.metrics.ratings import REFERENCE_CATEGORIES
from evalkit.records import Message, Question
from evalkit.roles import RatingRequest, Verdict

TURNS = 2
WHERE_TO_GET = (
    "download judge_prompts.jsonl of FastChat, which its package leaves out, from https://github.com/"
    "lm-sys/FastChat/blob/main/fastchat/llm_judge/data/judge_prompts.jsonl, and name it there"
)
_RATINGS = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
_MARK = "[[rating]]"
_ONE_TURN = frozenset({"question", "answer"})
_TWO_TURNS = frozenset({"question_1", "answer_1", "question_2", "answer_2"})
# The forms, and what each is filled with.
_FORMS = {
    "single-v1": _ONE_TURN,
    "single-math-v1": _ONE_TURN | {"ref_answer_1"},
    "single-v1-multi-turn": _TWO_TURNS,
    "single-math-v1-multi-turn": _TWO_TURNS | {"ref_answer_1", "ref_answer_2"},
}


class RatingPrompts(NamedTuple):
    """The four forms by name, as (system prompt, template), and the file's digest."""

    forms: Mapping[str, tuple[str, str]]
    sha256: str

    def filled(self, request: RatingRequest) -> tuple[Message, ...]:
        """The conversation that asks for a rating of the last answer, seen in its conversation."""
        question, answers = request.question, request.answers
        system, template = self.forms[form(question, len(answers))]
        values: dict[str, str] = {}
        for number, (turn, answer) in enumerate(zip(question.turns, answers, strict=False), 1):
            values[f"question_{number}"], values[f"answer_{number}"] = turn.content, answer
            values[f"ref_answer_{number}"] = turn.reference or ""
        values["question"], values["answer"] = values["question_1"], values["answer_1"]
        return (Message("system", system), Message("user", template.format(**values)))


def form(question: Question, turn: int) -> str:
    """The name of the form for a turn (from 1): with reference answers in some categories.

    Source: lm-sys/FastChat, fastchat/llm_judge/gen_judgment.py, make_judge_single (0.2.36).
    """
    name = "single-math-v1" if question.category in REFERENCE_CATEGORIES else "single-v1"
    return name if turn == 1 else f"{name}-multi-turn"


def obstacle(question: Question, turn: int) -> str:
    """Why an answer to this turn cannot be rated; empty if it can."""
    if not 1 <= turn <= min(TURNS, len(question.turns)):
        return f"turn {turn} of question {question.id} has no form: there are forms for two turns"
    if question.category not in REFERENCE_CATEGORIES:
        return ""
    without = [n for n in range(1, turn + 1) if not question.turns[n - 1].reference]
    if not without:
        return ""
    where = f"turn {without[0]} of question {question.id} ({question.category})"
    return f"{where} has no reference answer"


def read_rating_prompts(file: Path) -> RatingPrompts:
    """The four forms of single-answer grading from a judge_prompts.jsonl.

    Raises:
        PrerequisiteError: there is no such file.
        RecipeError: it cannot be read, or a form is missing or asks for what is not there.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise PrerequisiteError(f"there are no judge prompts {file}", WHERE_TO_GET) from error
    except OSError as error:
        raise RecipeError(
            f"cannot read the judge prompts {file}: {error.strerror}", WHERE_TO_GET
        ) from error
    rows: dict[str, Any] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            row = _row(line, f"{file}:{number}")
            rows[row["name"]] = row
    forms = {name: _form(file, rows, name) for name in _FORMS}
    return RatingPrompts(forms, hashlib.sha256(content).hexdigest())


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RecipeError(f"{where}  not JSON: {error}", WHERE_TO_GET) from error
    keys = ("name", "system_prompt", "prompt_template", "output_format")
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in keys):
        raise RecipeError(f"{where}  a row has the texts {', '.join(keys)}", WHERE_TO_GET)
    return row


def _form(file: Path, rows: Mapping[str, Any], name: str) -> tuple[str, str]:
    if name not in rows:
        raise RecipeError(f"{file} has no prompt '{name}'", WHERE_TO_GET)
    system, template = rows[name]["system_prompt"], rows[name]["prompt_template"]
    try:
        found = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    except ValueError as error:
        raise RecipeError(f"{file}: '{name}' is no template: {error}") from error
    if found != _FORMS[name]:
        odd = sorted(found ^ _FORMS[name])
        raise RecipeError(
            f"{file}: '{name}' has other fields than it should: {', '.join(odd)}",
            f"it is filled with {', '.join(sorted(_FORMS[name]))}",
        )
    if rows[name]["output_format"] != _MARK:
        raise RecipeError(f"{file}: '{name}' does not ask for {_MARK}", WHERE_TO_GET)
    return system, template


def rating_verdict(answer: ChatAnswer) -> Verdict:
    """The rating in a judgment; the judgment itself is the Verdict's reason.

    A number outside 1 to 10 is no rating here; FastChat averages it in.

    Source: lm-sys/FastChat, fastchat/llm_judge/common.py, one_score_pattern (release 0.2.36).
    """
    if answer.text is None:
        return Verdict(None, answer.reason)
    found = next((match for p in _RATINGS if (match := p.search(answer.text))), None)
    if found is None:
        return Verdict(None, f"no rating in the judgment: {answer.text}")
    rating = float(found[1])
    if not 1 <= rating <= 10:
        return Verdict(None, f"a rating outside 1 to 10 in the judgment: {answer.text}")
    return Verdict(rating, answer.text)
