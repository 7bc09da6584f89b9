"""The kinds of task: how to draw one, how it may be worded, and what answers it.

Exact kinds have one right answer; open kinds are free-form and carry a rule under which length
and quality pull apart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from evalkit.pocket.vocabulary import ANIMALS, EVERY_WORD, FOODS, GROUPS, NAMES, PLACES, QUALITIES


class Content(NamedTuple):
    """What a task is about, before any wording: the words it works on, and one extra word."""

    words: tuple[str, ...]
    extra: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    wordings: with the fields `{words}` (joined by blanks), `{extra}`, and `{0}`, `{1}`... (each).
    rule: how a response is checked; None means `exact`.
    unordered: the order of the words does not change what is right, so that all orders of the
        same words must share a split.
    """

    name: str
    draw: Callable[[Random], Content]
    wordings: tuple[str, ...]
    answer: Callable[[Content], str]
    rule: Callable[[Content], dict[str, Any]] | None = None
    unordered: bool = False


def _list(low: int, high: int, pool: tuple[str, ...] = EVERY_WORD) -> Callable[[Random], Content]:
    """Draws `low` to `high` different words."""
    return lambda rng: Content(tuple(rng.sample(pool, rng.randint(low, high))))


def _times(rng: Random) -> Content:
    return Content(tuple(rng.sample(EVERY_WORD, rng.randint(1, 2))), str(rng.randint(2, 3)))


def _digits(rng: Random) -> Content:
    return Content(tuple(rng.sample("123456789", rng.randint(3, 4))))


def _numbers(rng: Random) -> Content:
    return Content(tuple(str(number) for number in rng.sample(range(10, 100), 2)))


def _position(rng: Random) -> Content:
    words = rng.sample(EVERY_WORD, rng.randint(3, 4))
    return Content(tuple(words), str(rng.randint(2, len(words) - 1)))


def _one_of_them(rng: Random) -> Content:
    words = rng.sample(EVERY_WORD, rng.randint(3, 4))
    return Content(tuple(words), rng.choice(words[:-1]))


EXACT_KINDS = (
    Kind(
        "repeat",
        _times,
        (
            "Say {extra} times: {words}",
            "Repeat {words} {extra} times.",
            "Write {words} {extra} times.",
        ),
        lambda content: " ".join(content.words * int(content.extra)),
    ),
    Kind(
        "copy",
        _list(2, 4),
        ("Copy: {words}", "Copy these words: {words}", "Say exactly: {words}"),
        lambda content: " ".join(content.words),
    ),
    Kind(
        "reverse",
        _list(2, 3),
        ("Reverse: {words}", "Say in reverse order: {words}", "Turn around: {words}"),
        lambda content: " ".join(reversed(content.words)),
    ),
    Kind(
        "sort",
        _digits,
        ("Sort: {words}", "Sort from small to large: {words}", "Put in order: {words}"),
        lambda content: " ".join(sorted(content.words)),
        unordered=True,
    ),
    Kind(
        "remove",
        _one_of_them,
        ("Say {words} without {extra}.", "Remove {extra} from: {words}", "Drop {extra}: {words}"),
        lambda content: " ".join(word for word in content.words if word != content.extra),
    ),
    Kind(
        "count",
        _list(2, 5),
        (
            "Count the words: {words}",
            "How many words: {words}",
            "Give the number of words: {words}",
        ),
        lambda content: str(len(content.words)),
        unordered=True,
    ),
    Kind(
        "larger",
        _numbers,
        (
            "Which is larger, {0} or {1}?",
            "Say the larger one: {0} {1}",
            "What is more, {0} or {1}?",
        ),
        lambda content: max(content.words, key=int),
        unordered=True,
    ),
    Kind(
        "smaller",
        _numbers,
        (
            "Which is smaller, {0} or {1}?",
            "Say the smaller one: {0} {1}",
            "What is less, {0} or {1}?",
        ),
        lambda content: min(content.words, key=int),
        unordered=True,
    ),
    Kind(
        "first",
        _list(3, 4),
        (
            "Say the first word: {words}",
            "What comes first: {words}",
            "Give only the first of {words}.",
        ),
        lambda content: content.words[0],
    ),
    Kind(
        "last",
        _list(3, 4),
        (
            "Say the last word: {words}",
            "What comes last: {words}",
            "Give only the last of {words}.",
        ),
        lambda content: content.words[-1],
    ),
    Kind(
        "pick",
        _position,
        (
            "Pick word {extra}: {words}",
            "Say word number {extra} of {words}.",
            "Give word {extra} in {words}.",
        ),
        lambda content: content.words[int(content.extra) - 1],
    ),
    Kind(
        "after",
        _one_of_them,
        (
            "What comes after {extra}: {words}",
            "Say the word after {extra} in {words}.",
            "Next after {extra}: {words}",
        ),
        lambda content: content.words[content.words.index(content.extra) + 1],
    ),
)


def _describe(rng: Random) -> Content:
    return Content((rng.choice(ANIMALS), *rng.sample(QUALITIES, 2)))


def _meet(rng: Random) -> Content:
    return Content((*rng.sample(ANIMALS, 2), rng.choice(PLACES)))


def _tell(rng: Random) -> Content:
    return Content((rng.choice(NAMES), rng.choice(FOODS), rng.choice(QUALITIES)))


def _members(rng: Random) -> Content:
    group = rng.choice(sorted(GROUPS))
    return Content((group, *rng.sample(GROUPS[group], 2)), str(rng.randint(2, 4)))


def _name_members(content: Content) -> str:
    group, *unwanted = content.words
    known = [word for word in GROUPS[group] if word not in unwanted]
    start = sum(map(ord, "".join(unwanted))) % len(known)
    return " ".join((known + known)[start : start + int(content.extra)])


def _cover(max_words: int) -> Callable[[Content], dict[str, Any]]:
    return lambda content: {"kind": "cover", "require": list(content.words), "max_words": max_words}


OPEN_KINDS = (
    Kind(
        "describe",
        _describe,
        (
            "Describe a {0} that is {1} and {2}.",
            "Tell me about a {0}, {1} and {2}.",
            "Use {1} and {2} for a {0}.",
        ),
        lambda content: "the {} is {} and {}".format(*content.words),
        _cover(6),
        unordered=True,
    ),
    Kind(
        "meet",
        _meet,
        ("Write about a {0} and a {1} at the {2}.", "Make a line with {0}, {1} and {2}."),
        lambda content: "the {} sees the {} at the {}".format(*content.words),
        _cover(8),
        unordered=True,
    ),
    Kind(
        "tell",
        _tell,
        ("Tell {0} that the {1} is {2}.", "Let {0} know: the {1} is {2}."),
        lambda content: "dear {}, the {} is {}".format(*content.words),
        _cover(6),
        unordered=True,
    ),
    Kind(
        "members",
        _members,
        (
            "Name {extra} words for a {0}, not {1} or {2}.",
            "List {extra} of the kind {0}, without {1} and {2}.",
        ),
        _name_members,
        lambda content: {
            "kind": "members",
            "of": list(GROUPS[content.words[0]]),
            "count": int(content.extra),
            "forbid": list(content.words[1:]),
        },
        unordered=True,
    ),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (*EXACT_KINDS, *OPEN_KINDS)}
EXACT_NAMES = tuple(kind.name for kind in EXACT_KINDS)
OPEN_NAMES = tuple(kind.name for kind in OPEN_KINDS)
