"""Plans the passes that score many requests, as one tree of all that their prompts share.

What leads more requests than a row holds becomes a stem: it is computed once, and its keys and
values are kept while the rows that go on from it are computed. Shorter beginnings are shared within
rows. A plan depends on the token ids and the sizes given here alone, so that equal work is always
laid out equally: another layout rounds differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from evalkit.roles import ScoringRequest
from evalkit.scoring.layout import Row, common_prefix_length, tree_length

STEM_TOKENS = 64  # a pass of its own for fewer costs more than computing them again


class PlannedStem(NamedTuple):
    """Tokens that requests share beyond those of `below`, another stem by number."""

    token_ids: tuple[int, ...]
    below: int | None
    length: int  # with all that is below


class Pass(NamedTuple):
    """Rows of requests computed together, which go on from a stem, by number."""

    stem: int | None
    rows: list[Row]

    @property
    def members(self) -> list[int]:
        """The requests in the order of the rows."""
        return [index for row in self.rows for index in row]


class Plan(NamedTuple):
    """All passes, those of a stem before those of the stems that go on from it."""

    stems: list[PlannedStem]
    passes: list[Pass]

    def path(self, stem: int | None) -> list[int]:
        """The stems that lead to this one, from the first to itself."""
        found: list[int] = []
        while stem is not None:
            found.insert(0, stem)
            stem = self.stems[stem].below
        return found


def plan_passes(requests: Sequence[ScoringRequest], row_tokens: int, token_budget: int) -> Plan:
    """Passes of rows of up to `row_tokens`, padded within the budget; larger requests stand alone.

    Every request must have a prompt and a continuation.
    """
    tree = _PrefixTree(requests, row_tokens)
    tree.divide(0, len(requests), None)
    passes = [
        Pass(stem, rows)
        for stem in sorted(tree.rows, key=lambda number: -1 if number is None else number)
        for rows in batch_rows(tree.rows[stem], token_budget)
    ]
    return Plan(tree.stems, passes)


def batch_rows(rows: Sequence[tuple[Row, int]], token_budget: int) -> list[list[Row]]:
    """Rows of similar length grouped so that each group, padded, keeps within the budget."""
    batches: list[list[Row]] = []
    width = 0
    for row, length in sorted(rows, key=lambda item: (-item[1], item[0])):
        if not batches or (len(batches[-1]) + 1) * width > token_budget:
            batches.append([])
            width = length
        batches[-1].append(row)
    return batches


class _PrefixTree:
    """Requests in the order of their prompts, in which all that begin alike are neighbours.

    rows: of each stem, with their lengths.
    """

    def __init__(self, requests: Sequence[ScoringRequest], row_tokens: int) -> None:
        prompts = [request.prompt_token_ids for request in requests]
        self._order = sorted(range(len(requests)), key=lambda index: (prompts[index], index))
        self._prompts = [prompts[index] for index in self._order]
        self._sizes = [tree_length(requests[index]) for index in self._order]
        # Of each request with the one before it.
        self._shared = [0, *(common_prefix_length(a, b) for a, b in pairwise(self._prompts))]
        self._row_tokens = row_tokens
        self.stems: list[PlannedStem] = []
        self.rows: dict[int | None, list[tuple[Row, int]]] = {}

    def divide(self, start: int, end: int, stem: int | None) -> None:
        """Plans the requests [start, end), which all go on from `stem`."""
        if start == end:
            return
        above = 0 if stem is None else self.stems[stem].length
        total = self._tokens(start, end, above)
        common = self._common(start, end) - above
        if end - start == 1 or total <= self._row_tokens:
            self._add_row(stem, start, end, total)
        elif common < STEM_TOKENS:
            self._divide_groups(self._groups(start, end, above), stem, above)
        elif total - common <= self._row_tokens:
            self._add_row(stem, start, end, total)  # shared by this row alone
        else:
            shared = self._prompts[start][above : above + common]
            self.stems.append(PlannedStem(shared, stem, above + common))
            self.divide(start, end, len(self.stems) - 1)

    def _divide_groups(self, groups: list[tuple[int, int]], stem: int | None, above: int) -> None:
        """Neighbouring groups that fit share a row; larger ones are divided further."""
        begin, length = groups[0][0], 0
        for start, end in groups:
            size = self._tokens(start, end, above)
            if begin < start and length + size > self._row_tokens:
                self._add_row(stem, begin, start, length)
                begin, length = start, 0
            if size > self._row_tokens:
                self.divide(start, end, stem)
                begin, length = end, 0
            else:
                length += size
        if begin < groups[-1][1]:
            self._add_row(stem, begin, groups[-1][1], length)

    def _groups(self, start: int, end: int, above: int) -> list[tuple[int, int]]:
        """Neighbours that share enough for a stem of their own."""
        edges = [i for i in range(start + 1, end) if self._shared[i] - above < STEM_TOKENS]
        # The first prompt may be all that the others begin with: it needs a row for its last token.
        return list(pairwise([start, *(edges or [start + 1]), end]))

    def _common(self, start: int, end: int) -> int:
        """Tokens that all prompts begin with, less than any prompt has."""
        shared = common_prefix_length(self._prompts[start], self._prompts[end - 1])
        return min(shared, len(self._prompts[start]) - 1)

    def _tokens(self, start: int, end: int, above: int) -> int:
        """Tokens of a row of the requests beyond the first `above`."""
        alone = sum(self._sizes[start:end]) - (end - start) * above
        return alone - sum(max(0, shared - above) for shared in self._shared[start + 1 : end])

    def _add_row(self, stem: int | None, start: int, end: int, length: int) -> None:
        self.rows.setdefault(stem, []).append((self._order[start:end], length))
