"""Which of two conversations is better, asked as FastChat's llm_judge asks it: A, B, or a tie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from evalkit.chat_client import ChatAnswer
from evalkit.fastchat.forms import PAIR_FORMS, Form, game_messages, read_judge_prompts
from evalkit.judges.annotation_parsing import CERTAIN
from evalkit.metrics.matches import parse_winner
from evalkit.records import Message
from evalkit.roles import GameRequest, Verdict

_LOGITS = {"A": CERTAIN, "B": -CERTAIN, "tie": 0.0}


class GamePrompts(NamedTuple):
    """The four forms by name, and the digest of their file."""

    forms: Mapping[str, Form]
    sha256: str

    def filled(self, request: GameRequest) -> tuple[Message, ...]:
        """The conversation that asks for the better last answer, seen in both conversations."""
        return game_messages(self.forms, request.question, request.first, request.second)


def read_game_prompts(where: str | Path) -> GamePrompts:
    """The pairwise forms in a judge_prompts.jsonl, or in a folder or Space that has one.

    Raises:
        PrerequisiteError: there is no such file.
        RecipeError: it cannot be read, or a form is missing or asks for what is not there.
    """
    found = read_judge_prompts(str(where))
    return GamePrompts(found.forms(PAIR_FORMS), found.sha256)


def game_verdict(answer: ChatAnswer) -> Verdict:
    """Who won, for certain, or the tie between them; the judgment is the Verdict's reason."""
    if answer.text is None:
        return Verdict(None, answer.reason)
    winner = parse_winner(answer.text)
    if winner is None:
        return Verdict(None, f"no verdict in the judgment: {answer.text}")
    return Verdict(_LOGITS[winner], answer.text)
