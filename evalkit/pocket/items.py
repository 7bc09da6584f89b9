"""Draws tasks for a split; which split a task is in is decided by a hash of its content.

The hash is taken before the task is worded or answered and knows no seed or count, so nothing
that a model is pre-trained or self-trained on can ever turn up in an evaluation.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from random import Random
from typing import Any

from evalkit.errors import RecipeError, did_you_mean
from evalkit.pocket.kinds import EXACT_NAMES, KINDS, Content, Kind

# Upper ends of the splits on the line from 0 to 1 that contents are hashed to.
SPLITS = {"pretrain": 0.6, "self_play": 0.85, "held_out": 1.0}
_TRIES = 400  # draws in a row without a new item, after which a kind counts as used up


@dataclass(frozen=True)
class Item:
    """One task: its prompt, one right answer, and the rule that checks any other."""

    id: str
    kind: str
    content: Content
    prompt: str
    answer: str
    rule: dict[str, Any]


def split_of(kind: Kind, content: Content) -> str:
    """The split that this content belongs to, now and for ever."""
    words = sorted(content.words) if kind.unordered else content.words
    return split_of_key(_key(kind, Content(tuple(words), content.extra)))


def split_of_key(key: str) -> str:
    """The split of whatever has the canonical text `key`."""
    point = number_of(key) / 2**64
    return next(name for name, upper in SPLITS.items() if point < upper)


def number_of(text: str) -> int:
    """A number below 2**64 that depends on `text` alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def item_of(kind: Kind, content: Content) -> Item:
    """The task of this content; equal contents give equal items, wording included."""
    key = _key(kind, content)
    wording = kind.wordings[number_of("wording|" + key) % len(kind.wordings)]
    answer = kind.answer(content)
    return Item(
        id=f"{kind.name}-{number_of(key):016x}",
        kind=kind.name,
        content=content,
        prompt=wording.format(*content.words, words=" ".join(content.words), extra=content.extra),
        answer=answer,
        rule=kind.rule(content) if kind.rule else {"kind": "exact", "answer": answer},
    )


def any_item(kind: Kind, split: str, rng: Random) -> Item:
    """One random item of a kind and split; the same one may come again."""
    while True:
        content = kind.draw(rng)
        if split_of(kind, content) == split:
            return item_of(kind, content)


def draw(split: str, count: int, seed: int, kinds: Sequence[str] = EXACT_NAMES) -> list[Item]:
    """`count` different items of a split, the kinds taking turns; a used-up kind drops out.

    A longer draw with the same seed and kinds begins with the shorter one.

    Raises:
        RecipeError: an unknown split or kind, or all kinds are used up before `count`.
    """
    if split not in SPLITS:
        raise RecipeError(f"no pocket split is called '{split}'", did_you_mean(split, SPLITS))
    turns = zip_longest(*(_distinct(kind_called(name), split, seed) for name in kinds))
    items = list(islice((item for turn in turns for item in turn if item is not None), count))
    if len(items) < count:
        raise RecipeError(
            f"the pocket split {split} has only about {len(items)} different tasks of the kinds "
            f"{', '.join(kinds)}, not {count}",
            "lower `count`, or name more `kinds`",
        )
    return items


def kind_called(name: str) -> Kind:
    """The kind of task called `name`.

    Raises:
        RecipeError: there is none.
    """
    if name not in KINDS:
        raise RecipeError(f"no kind of pocket task is called '{name}'", did_you_mean(name, KINDS))
    return KINDS[name]


def _distinct(kind: Kind, split: str, seed: int) -> Iterator[Item]:
    """Different items of one kind until none turns up any more."""
    rng = Random(f"{split}|{kind.name}|{seed}")
    seen: set[str] = set()
    tries = 0
    while tries < _TRIES:
        item = any_item(kind, split, rng)
        tries += 1
        if item.id not in seen:
            seen.add(item.id)
            tries = 0
            yield item


def _key(kind: Kind, content: Content) -> str:
    return "|".join((kind.name, " ".join(content.words), content.extra))
