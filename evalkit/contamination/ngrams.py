"""Word sequences of known texts, found in other texts by rolling hashes, and then compared.

Shape suffixes: `T` words of a stretch of text, `W` windows in it, `G` distinct sequences.
Word 0 is any that no known text has; it also stands between texts. No known sequence holds it, so
that a window over it, or over two texts, is never found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no power of it vanishes modulo 2**64
_MIX = np.uint64(0xD6E8FEB86659FD93)
_SPARSE_BITS = 4  # the bitmap has 2**4 places for each sequence


class _Sequences(NamedTuple):
    """All known sequences of one length: hashes ascending, and where each stands in the texts.

    first: into `sequence_G`, the number of the first of them among those of all lengths.
    """

    length: int
    hashes_G: Hashes
    place_G: Places
    bitmap: NDArray[np.bool_]
    shift: np.uint64
    first: int

    def maybe(self, hashes_W: Hashes) -> NDArray[np.bool_]:
        """False where a hash is surely none of these."""
        seen_W: NDArray[np.bool_] = self.bitmap[(hashes_W * _MIX) >> self.shift]
        return seen_W


class Found(NamedTuple):
    """Known sequences in a stretch of text: their numbers, and where each begins in it."""

    sequences: Places
    starts: Places


class SequenceIndex:
    """The word sequences of texts: all of `n` words, and each shorter text as one sequence.

    sequence_count: how many different ones there are, numbered from 0.
    sequences: of each text, the numbers of its sequences in order.
    """

    def __init__(self, texts: Iterable[Sequence[str]], n: int) -> None:
        self.n = n
        numbers = count(1)
        vocabulary: dict[str, int] = defaultdict(lambda: next(numbers))
        known = [list(map(vocabulary.__getitem__, text)) for text in texts]
        self._vocabulary = dict(vocabulary)
        self._ids_T = _joined(known)
        self.sequence_count = 0
        self.sequences: list[Places] = []
        starts = _starts(known)
        for salt in count():
            if self._number(known, starts, salt):
                break

    def ids(self, text: Sequence[str]) -> Ids:
        """The numbers of its words."""
        numbers = map(self._vocabulary.get, text, repeat(0))
        return np.fromiter(numbers, dtype=np.int32, count=len(text))

    def find(self, ids_T: Ids) -> Found:
        """Every place in a stretch of text at which a known sequence stands, word for word."""
        found = [Found(np.empty(0, np.int64), np.empty(0, np.int64))]
        by_length = {one.length: one for one in self._by_length}
        for length, hashes_W in _window_hashes(self._values[ids_T], max(by_length, default=0)):
            if length not in by_length:
                continue
            sequences = by_length[length]
            places = np.flatnonzero(sequences.maybe(hashes_W))
            found.append(self._compared(sequences, ids_T, hashes_W, places))
        return Found(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _compared(self, known: _Sequences, ids_T: Ids, hashes_W: Hashes, places: Places) -> Found:
        """Of places that may hold a sequence, those that do, by their words."""
        nearest = np.searchsorted(known.hashes_G, hashes_W[places])
        nearest = np.minimum(nearest, len(known.hashes_G) - 1)
        window = np.arange(known.length)
        same = (
            ids_T[places[:, None] + window] == self._ids_T[known.place_G[nearest][:, None] + window]
        ).all(axis=1)
        return Found(nearest[same] + known.first, places[same])

    def _number(self, texts: list[list[int]], starts: list[int], salt: int) -> bool:
        """Numbers all sequences; False where two of them have one hash, so that another must be."""
        self._values = _values(len(self._vocabulary) + 1, salt)
        places = self._places(texts, starts)
        self._by_length: list[_Sequences] = []
        numbers: dict[int, Places] = {}
        first = 0
        for length, hashes_W in _window_hashes(self._values[self._ids_T], max(places, default=0)):
            if length not in places:
                continue
            place = places[length]
            unique, representative, inverse = np.unique(
                hashes_W[place], return_index=True, return_inverse=True
            )
            if not self._are_alike(place, place[representative][inverse], length):
                return False
            self._by_length.append(_sequences(length, unique, place[representative], first))
            numbers[length] = inverse + first
            first += len(unique)
        self.sequence_count = first
        self.sequences = list(self._in_order(texts, numbers))
        return True

    def _places(self, texts: list[list[int]], starts: list[int]) -> dict[int, Places]:
        """By length, where the sequences of that length begin, text by text."""
        found: dict[int, list[Places]] = {}
        for text, start in zip(texts, starts, strict=True):
            length = min(len(text), self.n)
            if length:
                windows = np.arange(start, start + len(text) - length + 1)
                found.setdefault(length, []).append(windows)
        return {length: np.concatenate(parts) for length, parts in found.items()}

    def _are_alike(self, places: Places, others: Places, length: int) -> bool:
        return all(
            bool((self._ids_T[places + k] == self._ids_T[others + k]).all()) for k in range(length)
        )

    def _in_order(self, texts: list[list[int]], numbers: dict[int, Places]) -> Iterator[Places]:
        taken = dict.fromkeys(numbers, 0)
        for text in texts:
            length = min(len(text), self.n)
            if not length:
                yield np.empty(0, np.int64)
                continue
            end = taken[length] + len(text) - length + 1
            yield numbers[length][taken[length] : end]
            taken[length] = end


def _sequences(length: int, hashes: Hashes, places: Places, first: int) -> _Sequences:
    bits = max(6, len(hashes).bit_length() + _SPARSE_BITS)
    shift = np.uint64(64 - bits)
    bitmap = np.zeros(1 << bits, dtype=np.bool_)
    bitmap[(hashes * _MIX) >> shift] = True
    return _Sequences(length, hashes, places, bitmap, shift, first)


def _joined(texts: Iterable[Sequence[int]]) -> Ids:
    """All texts in one array, a 0 behind each."""
    return np.fromiter((i for text in texts for i in (*text, 0)), dtype=np.int32)


def _starts(texts: Sequence[Sequence[int]]) -> list[int]:
    lengths = np.array([0, *(len(text) + 1 for text in texts)])
    starts: list[int] = np.cumsum(lengths)[:-1].tolist()
    return starts


def _values(size: int, salt: int) -> Hashes:
    """A random 64-bit number for each word; 0 for word 0."""
    values = np.random.default_rng(salt).integers(0, 2**64, size=size, dtype=np.uint64)
    values[0] = 0
    return values


def _window_hashes(values_T: Hashes, longest: int) -> Iterator[tuple[int, Hashes]]:
    """For each length from 1 on, the hash of the window of that length that begins at each word."""
    hashes_W = values_T
    for length in range(1, longest + 1):
        if length > len(values_T):
            return
        if length > 1:
            hashes_W = hashes_W[:-1] * _BASE + values_T[length - 1 :]
        yield length, hashes_W
