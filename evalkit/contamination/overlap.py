"""Training texts against evaluation items: which items are met, with how many words, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.contamination.ngrams import Ids, Places, SequenceIndex
from evalkit.contamination.words import words
from evalkit.roles import EvaluationItem, Progress

EXAMPLES = 3  # training texts that are named for an item
_WORDS_AT_ONCE = 1_000_000
_SHOWN_WORDS = 40


class TrainingText(NamedTuple):
    """A prompt with the responses that are trained on; overlap may span both."""

    id: str
    prompt: str
    responses: tuple[str, ...] = ()


@dataclass(frozen=True)
class ItemOverlap:
    """An item that training texts hold words of.

    share: of all its n-grams, those found, 0 to 1; of the form that most are found of.
    words: of the longest stretch found; text: its (first) words, as compared.
    short: whether that is a whole item of fewer than n words, as chance may also bring about.
    documents: training texts with any of it; examples: the first of them by id.
    """

    id: str
    task: str
    share: float
    words: int
    text: str
    short: bool
    documents: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class TaskOverlap:
    """How many items a task has, how many overlap; short: those of them met as short wholes.

    empty: items without a word, which nothing can be said of.
    """

    task: str
    items: int
    hits: int
    short: int
    empty: int


@dataclass(frozen=True)
class Overlap:
    """Everything found.

    documents, words: how much training text was read; hit_documents: texts that hold any item.
    """

    ngram: int
    documents: int
    words: int
    hit_documents: int
    tasks: tuple[TaskOverlap, ...]
    hits: tuple[ItemOverlap, ...]


class _Scanned(NamedTuple):
    """Pairs of a sequence and a text that holds it, each once, by sequence; and how much was read.

    ids: of the texts.
    """

    sequences: Places
    texts: Places
    ids: list[str]
    words: int


def find_overlap(
    items: Sequence[EvaluationItem], training: Iterable[TrainingText], n: int, progress: Progress
) -> Overlap:
    """Which items share n words in a row with training texts; their order changes nothing.

    An item's texts are looked for each by itself. One of fewer than n words is met only whole.
    """
    forms = [(number, text) for number, item in enumerate(items) for text in map(words, item.texts)]
    index = SequenceIndex([text for _, text in forms], n)
    scanned = _scan(index, training, progress)
    met = np.zeros(index.sequence_count, dtype=np.bool_)
    met[scanned.sequences] = True
    by_item: dict[int, list[tuple[list[str], Places]]] = {}
    has_words = {number for number, text in forms if text}
    for (number, text), sequences in zip(forms, index.sequences, strict=True):
        if met[sequences].any():
            by_item.setdefault(number, []).append((text, sequences))
    hits = [_item_overlap(items[i], found, met, scanned, n) for i, found in by_item.items()]
    hits = sorted(hits, key=lambda hit: (hit.task, len(hit.id), hit.id))
    return Overlap(
        ngram=n,
        documents=len(scanned.ids),
        words=scanned.words,
        hit_documents=len(np.unique(scanned.texts)),
        tasks=tuple(_tasks(items, hits, has_words)),
        hits=tuple(hits),
    )


def texts_with_items(
    items: Sequence[EvaluationItem], training: Iterable[TrainingText], n: int
) -> set[str]:
    """Ids of the texts that share n words in a row with an item; shorter items are not looked for.

    (A text holds a whole item of a few words by chance.)
    """
    forms = [form for item in items for form in map(words, item.texts) if len(form) >= n]
    scanned = _scan(SequenceIndex(forms, n), training, lambda done, total, note="": None)
    return {scanned.ids[number] for number in np.unique(scanned.texts).tolist()}


def _tasks(
    items: Sequence[EvaluationItem], hits: Sequence[ItemOverlap], has_words: set[int]
) -> Iterator[TaskOverlap]:
    counts = Counter(item.task for item in items)
    met = Counter(hit.task for hit in hits)
    short = Counter(hit.task for hit in hits if hit.short)
    empty = Counter(item.task for number, item in enumerate(items) if number not in has_words)
    for task, count in counts.items():
        yield TaskOverlap(task, count, met[task], short[task], empty[task])


def _item_overlap(
    item: EvaluationItem,
    forms: Sequence[tuple[list[str], Places]],
    met: NDArray[np.bool_],
    scanned: _Scanned,
    n: int,
) -> ItemOverlap:
    share = max(float(met[sequences].mean()) for _, sequences in forms)
    stretch = max((_longest(text, met[sequences], n) for text, sequences in forms), key=len)
    sequences = np.unique(np.concatenate([found[met[found]] for _, found in forms]))
    lows, highs = (np.searchsorted(scanned.sequences, sequences + more) for more in (0, 1))
    rows = [scanned.texts[low:high] for low, high in zip(lows, highs, strict=True)]
    texts = np.unique(np.concatenate(rows))
    examples = sorted(scanned.ids[number] for number in texts.tolist())[:EXAMPLES]
    shown = " ".join(stretch[:_SHOWN_WORDS]) + (" ..." if len(stretch) > _SHOWN_WORDS else "")
    return ItemOverlap(
        id=item.id,
        task=item.task,
        share=round(share, 4),
        words=len(stretch),
        text=shown,
        short=len(stretch) < n,
        documents=len(texts),
        examples=tuple(examples),
    )


def _longest(text: list[str], met_W: NDArray[np.bool_], n: int) -> list[str]:
    """The words of the longest row of sequences that were all met."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], met_W.astype(np.int8), [0]))))
    if not len(edges):
        return []
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return text[starts[longest] : ends[longest] - 1 + min(n, len(text))]


def _scan(index: SequenceIndex, training: Iterable[TrainingText], progress: Progress) -> _Scanned:
    ids: list[str] = []
    pairs: list[Places] = []
    read = 0
    for batch in _batches(index, training):
        found = index.find(batch.ids)
        owners = np.repeat(np.arange(len(ids), len(ids) + len(batch.texts)), batch.lengths)
        pair = found.sequences * (1 << 32) + owners[found.starts]
        pairs.append(np.unique(pair))
        ids += batch.texts
        read += batch.words
        progress(len(ids), len(ids), f"texts read, {read:,} words")
    every = np.sort(np.concatenate(pairs)) if pairs else np.empty(0, np.int64)
    return _Scanned(every >> 32, every & 0xFFFFFFFF, ids, read)


class _Batch(NamedTuple):
    """Whole texts: their ids, and of all together the words; lengths: of each, with what is put
    between its parts. words: how many there are, each counted once.
    """

    texts: list[str]
    ids: Ids
    lengths: list[int]
    words: int


class _Read(NamedTuple):
    """A text, its parts with word 0 behind each, and how many words it has."""

    id: str
    ids: Ids
    words: int


def _batches(index: SequenceIndex, training: Iterable[TrainingText]) -> Iterator[_Batch]:
    held: list[_Read] = []
    size = 0
    for one in training:
        held.append(_read(index, one))
        size += len(held[-1].ids)
        if size >= _WORDS_AT_ONCE:
            yield _together(held)
            held, size = [], 0
    if held:
        yield _together(held)


def _read(index: SequenceIndex, text: TrainingText) -> _Read:
    between = np.zeros(1, np.int32)
    prompt = index.ids(words(text.prompt))
    responses = [index.ids(words(response)) for response in text.responses]
    # Its end again before each response: what spans both, and nothing of it twice.
    end = prompt[len(prompt) - min(len(prompt), index.n - 1) :]
    parts = [prompt, between]
    for response in responses:
        parts += [end, response, between]
    return _Read(text.id, np.concatenate(parts), len(prompt) + sum(map(len, responses)))


def _together(held: Sequence[_Read]) -> _Batch:
    return _Batch(
        [one.id for one in held],
        np.concatenate([one.ids for one in held]),
        [len(one.ids) for one in held],
        sum(one.words for one in held),
    )
