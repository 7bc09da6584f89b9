"""Prompts and two-turn questions of the pocket world, each with its right answer and rule."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from evalkit.errors import Problem, RecipeError, did_you_mean
from evalkit.pocket.conversations import Dialogue, draw_dialogues
from evalkit.pocket.items import Item, draw
from evalkit.pocket.kinds import EXACT_NAMES, KINDS, OPEN_NAMES
from evalkit.records import Message, Prompt, Question, Turn, dumps
from evalkit.roles import Options, Source

ALL_NAMES = (*EXACT_NAMES, *OPEN_NAMES)
# Self-play and pre-training meet every kind; exact match can only be measured on the exact ones.
KINDS_OF = {
    "pretrain": ALL_NAMES,
    "self_play": ALL_NAMES,
    "held_out": EXACT_NAMES,
    "open": OPEN_NAMES,
}
# What is drawn for evaluation comes from the contents that no training prompt may have.
CONTENTS_OF = {"open": "held_out", "two_turn": "held_out"}


class PocketOptions(Options):
    """Which tasks, and how many.

    split: which tasks: `self_play` and `pretrain` to train on, the others to measure with.
    count: how many of them. seed: which of them.
    kinds: only these kinds of task; default all that the split has.
    """

    split: Literal["pretrain", "self_play", "held_out", "open", "two_turn"]
    count: int = Field(default=1500, ge=1)
    seed: int = 0
    kinds: tuple[str, ...] = ()


class PocketSource(Source):
    """Draws from one split of the pocket world."""

    Options: ClassVar[type[Options]] = PocketOptions
    options: PocketOptions

    def check(self) -> list[Problem]:
        """Unknown kinds, and more tasks than there are."""
        unknown = [kind for kind in self.options.kinds if kind not in KINDS]
        if unknown:
            return [
                Problem("kinds", f"no kind of pocket task is called '{kind}'", _near(kind))
                for kind in unknown
            ]
        try:
            self._draw()
        except RecipeError as error:
            return [Problem("count", error.message, error.hint)]
        return []

    def prompts(self) -> list[Prompt]:
        """One user turn each; of the split `two_turn`, the first turns."""
        drawn = self._draw()
        return [_prompt(one.first if isinstance(one, Dialogue) else one) for one in drawn]

    def questions(self) -> list[Question]:
        """The two-turn questions of the split `two_turn`.

        Raises:
            RecipeError: another split.
        """
        if self.options.split != "two_turn":
            raise RecipeError(
                f"the pocket split '{self.options.split}' has no two-turn questions",
                "set split: two_turn",
            )
        return [_question(one) for one in self._draw() if isinstance(one, Dialogue)]

    def description(self) -> Mapping[str, str]:
        """Name and digest of what is drawn."""
        digest = hashlib.sha256(dumps([one.id for one in self._draw()]).encode()).hexdigest()
        return {"name": f"pocket/{self.options.split}", "digest": digest}

    def _draw(self) -> list[Item] | list[Dialogue]:
        split, count, seed = self.options.split, self.options.count, self.options.seed
        contents = CONTENTS_OF.get(split, split)
        if split == "two_turn":
            return draw_dialogues(contents, count, seed)
        return draw(contents, count, seed, self.options.kinds or KINDS_OF[split])


def _near(kind: str) -> str:
    return did_you_mean(kind, KINDS)


def _prompt(item: Item) -> Prompt:
    return Prompt(
        id=item.id,
        messages=(Message("user", item.prompt),),
        gold=item.answer,
        rule=item.rule,
        category=item.kind,
    )


def _question(dialogue: Dialogue) -> Question:
    first = dialogue.first
    return Question(
        id=dialogue.id,
        category=dialogue.category,
        turns=(
            Turn(first.prompt, first.answer, first.rule),
            Turn(dialogue.follow_up, dialogue.answer, {"kind": "exact", "answer": dialogue.answer}),
        ),
    )


PLUGIN = PocketSource
