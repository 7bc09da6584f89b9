"""FastChat's judge prompts: which of the eight is due when, and the file that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

from evalkit import json_rows
from evalkit.errors import EvalkitError, PrerequisiteError, RecipeError
from evalkit.fastchat.place import SpaceData, open_data
from evalkit.records import Message, Question
from evalkit.roles import Prefetched

# Answers to questions of these are judged against reference answers.
# Source: lm-sys/FastChat, fastchat/llm_judge/common.py, NEED_REF_CATS (release 0.2.36).
REFERENCE_CATEGORIES = frozenset({"math", "reasoning", "coding", "arena-hard-200"})
PROMPTS_FILE = "judge_prompts.jsonl"
WHERE_TO_GET = (
    "download judge_prompts.jsonl of FastChat, which its package leaves out, from https://github.com/"
    "lm-sys/FastChat/blob/main/fastchat/llm_judge/data/judge_prompts.jsonl, and name it there"
)
_RATED, _PAIRED = "[[rating]]", "[[A]]"  # the marks that forms ask for
_QUESTIONS = frozenset({"question_1", "question_2"})
_REFERENCES = frozenset({"ref_answer_1", "ref_answer_2"})
_ONE = frozenset({"question", "answer"})
_TWO = _QUESTIONS | {"answer_1", "answer_2"}
_PAIR_ONE = frozenset({"question", "answer_a", "answer_b"})
_PAIR_TWO = _QUESTIONS | {"answer_a_1", "answer_a_2", "answer_b_1", "answer_b_2"}
# The forms, and what each is filled with.
SINGLE_FORMS: Mapping[str, frozenset[str]] = {
    "single-v1": _ONE,
    "single-math-v1": _ONE | {"ref_answer_1"},
    "single-v1-multi-turn": _TWO,
    "single-math-v1-multi-turn": _TWO | _REFERENCES,
}
PAIR_FORMS: Mapping[str, frozenset[str]] = {
    "pair-v2": _PAIR_ONE,
    "pair-math-v1": _PAIR_ONE | {"ref_answer_1"},
    "pair-v2-multi-turn": _PAIR_TWO,
    "pair-math-v1-multi-turn": _PAIR_TWO | _REFERENCES,
}


def single_form(category: str, turn: int) -> str:
    """The name of the form that rates an answer to a turn (from 1) of a question.

    Source: lm-sys/FastChat, fastchat/llm_judge/gen_judgment.py, make_judge_single (0.2.36).
    """
    name = "single-math-v1" if category in REFERENCE_CATEGORIES else "single-v1"
    return name if turn == 1 else f"{name}-multi-turn"


def pair_form(category: str, turn: int) -> str:
    """The name of the form that compares two answers to a turn (from 1) of a question.

    Source: lm-sys/FastChat, fastchat/llm_judge/gen_judgment.py, make_judge_pairwise (0.2.36).
    """
    name = "pair-math-v1" if category in REFERENCE_CATEGORIES else "pair-v2"
    return name if turn == 1 else f"{name}-multi-turn"


class Form(NamedTuple):
    """A judge prompt."""

    system: str
    template: str

    def filled(self, values: Mapping[str, str]) -> tuple[Message, ...]:
        """The conversation that asks it; fields in the values stay text."""
        return (Message("system", self.system), Message("user", self.template.format(**values)))


def rating_messages(
    forms: Mapping[str, Form], question: Question, answers: Sequence[str]
) -> tuple[Message, ...]:
    """What asks for a rating of the last answer, seen in its conversation."""
    values = {**_asked(question, len(answers)), "answer": answers[0]}
    values |= {f"answer_{number}": answer for number, answer in enumerate(answers, 1)}
    return forms[single_form(question.category, len(answers))].filled(values)


def game_messages(
    forms: Mapping[str, Form], question: Question, first: Sequence[str], second: Sequence[str]
) -> tuple[Message, ...]:
    """What asks for the better last answer, seen in both conversations."""
    values = _asked(question, len(first))
    for side, answers in (("a", first), ("b", second)):
        values[f"answer_{side}"] = answers[0]
        values |= {f"answer_{side}_{number}": one for number, one in enumerate(answers, 1)}
    return forms[pair_form(question.category, len(first))].filled(values)


def _asked(question: Question, turns: int) -> dict[str, str]:
    """What of a question its forms show, up to a number of turns."""
    values = {"question": question.turns[0].content}
    for number, turn in enumerate(question.turns[:turns], 1):
        values[f"question_{number}"] = turn.content
        values[f"ref_answer_{number}"] = turn.reference or ""
    return values


class JudgePrompts(NamedTuple):
    """A file of forms by name, unchecked but for their shape, and its digest."""

    file: Path
    rows: Mapping[str, Mapping[str, Any]]
    sha256: str

    def forms(self, fields: Mapping[str, frozenset[str]]) -> dict[str, Form]:
        """The forms of SINGLE_FORMS or PAIR_FORMS.

        Raises:
            RecipeError: one is missing, asks for no verdict, or for what it cannot be filled with.
        """
        return {name: self._form(name, expected) for name, expected in fields.items()}

    def _form(self, name: str, expected: frozenset[str]) -> Form:
        if name not in self.rows:
            raise RecipeError(f"{self.file} has no prompt '{name}'", WHERE_TO_GET)
        row = self.rows[name]
        try:
            parts = Formatter().parse(row["prompt_template"])
            found = {field for _, field, _, _ in parts if field is not None}
        except ValueError as error:
            raise RecipeError(f"{self.file}: '{name}' is no template: {error}") from error
        if found != expected:
            odd = ", ".join(sorted(found ^ expected))
            raise RecipeError(
                f"{self.file}: '{name}' has other fields than it should: {odd}",
                f"it is filled with {', '.join(sorted(expected))}",
            )
        mark = _RATED if name in SINGLE_FORMS else _PAIRED
        if row["output_format"] != mark:
            raise RecipeError(f"{self.file}: '{name}' does not ask for {mark}", WHERE_TO_GET)
        return Form(row["system_prompt"], row["prompt_template"])


def read_judge_prompts(where: str) -> JudgePrompts:
    """The judge prompts of a file, or of FastChat's data: a folder of it, or a Hub space.

    Raises:
        PrerequisiteError: they are not there, or the Hub does not give them.
        RecipeError: the file cannot be read, or holds something else.
    """
    file = _file(where)
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise PrerequisiteError(f"there are no judge prompts {where}", WHERE_TO_GET) from error
    except OSError as error:
        raise RecipeError(
            f"cannot read the judge prompts {where}: {error.strerror}", WHERE_TO_GET
        ) from error
    return JudgePrompts(file, _rows(file), hashlib.sha256(content).hexdigest())


def prefetch_judge_prompts(where: str) -> list[Prefetched]:
    """Brings the judge prompts to this machine, where they are on the Hub; with their errors."""
    place = open_data(where)
    read_judge_prompts(where)
    return [place.prefetch([PROMPTS_FILE])] if isinstance(place, SpaceData) else []


def _file(where: str) -> Path:
    place = open_data(where)
    if place is None:
        return Path(where)
    found = place.find(PROMPTS_FILE)
    if found is None:
        raise PrerequisiteError(f"there are no judge prompts in {where}", WHERE_TO_GET)
    return found


def _rows(file: Path) -> dict[str, dict[str, Any]]:
    keys = ("name", "system_prompt", "prompt_template", "output_format")
    try:
        placed = json_rows.placed_rows(file)
    except EvalkitError as error:
        raise RecipeError(error.message, WHERE_TO_GET) from error
    for where, row in placed:
        if not all(isinstance(row.get(key), str) for key in keys):
            raise RecipeError(f"{where}  a row has the texts {', '.join(keys)}", WHERE_TO_GET)
    return {row["name"]: row for _, row in placed}
