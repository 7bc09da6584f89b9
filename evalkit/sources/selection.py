"""Which of the usable records are taken: each once, one portion, in what order, how many."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Literal

from pydantic import Field

from evalkit.records import Prompt, Question
from evalkit.roles import Options

Record = Prompt | Question
_BLANKS = re.compile(r"\s+")


class Portion(Options):
    """A part of data that has no split of its own.

    keep: which part. test_fraction: how much of the prompts is held out. seed: which of them: where
        a prompt goes follows from its first user turn and this alone, so that equal prompts stay
        together, and a prompt stays where it is when rows are added or taken away.
    """

    keep: Literal["train", "test"]
    test_fraction: float = Field(gt=0, lt=1)
    seed: int = 0

    def holds(self, record: Record) -> bool:
        """Whether a record is in the part that is kept."""
        held_out = fraction(self.seed, opening(record)) < self.test_fraction
        return held_out == (self.keep == "test")


def asked(record: Record) -> tuple[str, ...]:
    """What makes two records duplicates: every word that the model is asked."""
    if isinstance(record, Question):
        return tuple(turn.content for turn in record.turns)
    return tuple(text for message in record.messages for text in (message.role, message.content))


def opening(record: Record) -> str:
    """The first user turn, blanks and case evened out."""
    if isinstance(record, Question):
        text = record.turns[0].content
    else:
        text = next(one.content for one in record.messages if one.role == "user")
    return _BLANKS.sub(" ", text).strip().casefold()


def fraction(seed: int, text: str) -> float:
    """A number from 0 to 1, spread evenly over texts and fixed by them."""
    digest = hashlib.sha256(f"{seed}\0{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def without_duplicates(records: Iterable[tuple[int, Record]]) -> list[tuple[int, Record]]:
    """The first of each group of records that ask the same."""
    seen: set[tuple[str, ...]] = set()
    kept = []
    for position, record in records:
        key = asked(record)
        if key not in seen:
            seen.add(key)
            kept.append((position, record))
    return kept


def shuffle_key(seed: int) -> Callable[[Record], float]:
    """A sort key that puts records in an order of chance: each one's place is its own affair."""
    return lambda record: fraction(seed, f"shuffle\0{record.id}")
