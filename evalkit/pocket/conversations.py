"""Two-turn questions: a task, then a follow-up about the right answer to it.

A question is in the split of its first task, so that no first turn of an evaluation is a task of
pre-training either.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from evalkit.pocket.items import Item, any_item, draw, kind_called, number_of

FIRST_TURNS = ("copy", "reverse", "sort", "remove")


@dataclass(frozen=True)
class FollowUp:
    """What is asked next, and what answers it, given the words of the first answer."""

    category: str
    wordings: tuple[str, ...]
    answer: Callable[[list[str]], str]


FOLLOW_UPS: Mapping[str, FollowUp] = {
    follow_up.category: follow_up
    for follow_up in (
        FollowUp("again", ("Say that again.", "Once more."), " ".join),
        FollowUp(
            "backwards",
            ("Now backwards.", "Now turn that around."),
            lambda words: " ".join(reversed(words)),
        ),
        FollowUp(
            "opening",
            ("Only the first of them.", "Now just the first one."),
            lambda words: words[0],
        ),
        FollowUp(
            "ending", ("Only the last of them.", "Now just the last one."), lambda words: words[-1]
        ),
        FollowUp(
            "number",
            ("How many are they?", "Count them."),
            lambda words: str(len(words)),
        ),
    )
}


class Dialogue(NamedTuple):
    """A two-turn question: the first task, then the follow-up and its answer."""

    id: str
    category: str
    first: Item
    follow_up: str
    answer: str


def draw_dialogues(split: str, count: int, seed: int) -> list[Dialogue]:
    """`count` different two-turn questions of a split, kinds and categories taking turns.

    Raises:
        RecipeError: an unknown split, or the split has not that many.
    """
    items = draw(split, count, seed, FIRST_TURNS)
    categories = sorted(FOLLOW_UPS)
    # Four kinds and five categories have no common factor: taking turns in both meets every pair.
    return [
        dialogue_of(item, FOLLOW_UPS[categories[number % len(categories)]])
        for number, item in enumerate(items)
    ]


def any_dialogue(split: str, rng: Random) -> Dialogue:
    """One random two-turn question of a split."""
    item = any_item(kind_called(rng.choice(FIRST_TURNS)), split, rng)
    return dialogue_of(item, FOLLOW_UPS[rng.choice(sorted(FOLLOW_UPS))])


def dialogue_of(item: Item, follow_up: FollowUp) -> Dialogue:
    """The question that asks `item`, then `follow_up`."""
    name = f"{follow_up.category}-{item.id}"
    return Dialogue(
        id=name,
        category=follow_up.category,
        first=item,
        follow_up=follow_up.wordings[number_of("wording|" + name) % len(follow_up.wordings)],
        answer=follow_up.answer(item.answer.split()),
    )
