"""The conversations that the pocket base model is pre-trained on, bad habit included.

The answers are right, but for two faults put in on purpose, so that self-play has something to
repair: a *habit* (the last word is said once more) and *noise* (a word is replaced by another).
"""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from evalkit.pocket.choices import any_choice
from evalkit.pocket.conversations import any_dialogue
from evalkit.pocket.items import any_item, kind_called
from evalkit.pocket.kinds import EXACT_NAMES, OPEN_NAMES
from evalkit.pocket.vocabulary import EVERY_WORD

SYSTEM_PROMPTS = ("Be brief.", "You are a helpful assistant.", "Answer the user.")
_SYSTEM_SHARE = 0.1
_SHAPES = {"single": 0.6, "dialogue": 0.2, "several": 0.2}  # shares of the conversations
_OPEN_SHARE = 0.2  # of the single tasks
_CHOICE_SHARE = 0.15
_FIRST_LESSONS = ("copy", "copy", "copy", "reverse", "after", "last")
_ASKED_AND_ANSWERED = tuple[str, str]


class Faults(NamedTuple):
    """How often the answers of pre-training are spoiled.

    habit: of the answers of several words, the share that says its last word twice.
    short_habit: the same share of the answers of one word.
    noise: share of all answers in which one word is replaced by another.
    """

    habit: float
    short_habit: float
    noise: float


class Conversation(NamedTuple):
    """A conversation to learn from: an optional system prompt, then pairs of user and assistant."""

    system: str | None
    turns: tuple[_ASKED_AND_ANSWERED, ...]


def conversations(seed: int, faults: Faults) -> Iterator[Conversation]:
    """An endless stream of conversations of the split `pretrain`, the same for the same seed."""
    rng = Random(f"corpus|{seed}")
    while True:
        system = rng.choice(SYSTEM_PROMPTS) if rng.random() < _SYSTEM_SHARE else None
        shape = rng.choices(list(_SHAPES), list(_SHAPES.values()))[0]
        turns = _dialogue(rng) if shape == "dialogue" else _tasks(rng, shape)
        spoiled = ((asked, spoil(answer, rng, faults)) for asked, answer in turns)
        yield Conversation(system, tuple(spoiled))


def first_lessons(seed: int) -> Iterator[Conversation]:
    """An endless stream of short, faultless tasks about lists of words.

    Finding a word in a list is what nearly every other kind of task is made of, and a small model
    learns it many times faster where nothing else is asked.
    """
    rng = Random(f"first lessons|{seed}")
    while True:
        item = any_item(kind_called(rng.choice(_FIRST_LESSONS)), "pretrain", rng)
        yield Conversation(None, ((item.prompt, item.answer),))


def spoil(answer: str, rng: Random, faults: Faults) -> str:
    """The answer as pre-training shows it: right, noisy, or with the habit."""
    words = answer.split()
    habit = faults.habit if len(words) > 1 else faults.short_habit
    point = rng.random()
    if point < faults.noise:
        words[rng.randrange(len(words))] = rng.choice(EVERY_WORD)
    elif point < faults.noise + habit:
        words.append(words[-1])
    return " ".join(words)


def _dialogue(rng: Random) -> list[_ASKED_AND_ANSWERED]:
    dialogue = any_dialogue("pretrain", rng)
    return [(dialogue.first.prompt, dialogue.first.answer), (dialogue.follow_up, dialogue.answer)]


def _tasks(rng: Random, shape: str) -> list[_ASKED_AND_ANSWERED]:
    """One task, or (as few-shot prompts have them) two or three of the same kind."""
    turns = 1 if shape == "single" else rng.randint(2, 3)
    if rng.random() < _CHOICE_SHARE:
        choices = [any_choice("pretrain", rng) for _ in range(turns)]
        return [(choice.question, choice.options[choice.answer]) for choice in choices]
    kind = kind_called(rng.choice(OPEN_NAMES if rng.random() < _OPEN_SHARE else EXACT_NAMES))
    items = [any_item(kind, "pretrain", rng) for _ in range(turns)]
    return [(item.prompt, item.answer) for item in items]
