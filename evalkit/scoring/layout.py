"""Lays out continuations of prompts as rows of tokens in which a shared prefix stands once.

A row is a trie in depth-first order: each token attends to its ancestors only, and
one integer per token (where its subtree ends) says all of the attention mask.
Shape suffixes: R rows, T tokens of a row, U scored positions, S scored tokens, N continuations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evalkit.errors import ScoreError
from evalkit.roles import ScoringRequest

Row = list[int]  # indices of requests that share one row


class PackedBatch(NamedTuple):
    """Rows of tokens, and which of their outputs are scored against what.

    input_ids_RT, position_ids_RT: right padded; positions restart for every sequence.
    subtree_end_RT: index in the row just behind the last token that descends from this one.
    length_R: tokens of each row that are no padding.
    position_U: indices into the flattened R*T of outputs that predict anything, ascending.
    head_S, target_S, continuation_S: for each scored token the entry of U that predicts it, its
        id, and its continuation (0..N-1 in request order); ascending in head_S.
    n_continuations: N.
    """

    input_ids_RT: Tensor
    position_ids_RT: Tensor
    subtree_end_RT: Tensor
    length_R: Tensor
    position_U: Tensor
    head_S: Tensor
    target_S: Tensor
    continuation_S: Tensor
    n_continuations: int

    def to(self, device: Any) -> PackedBatch:
        """The same batch on `device`."""
        moved = [item.to(device) if isinstance(item, Tensor) else item for item in self]
        return PackedBatch(*moved)


class _Sequence(NamedTuple):
    token_ids: tuple[int, ...]
    continuation: int
    first_scored: int  # index of the output that predicts the continuation's first token
    targets: tuple[int, ...]


class _RowTokens:
    """One row being filled, sequence by sequence in lexicographic order."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.positions: list[int] = []
        self.subtree_ends: list[int] = []
        self._path: list[int] = []  # row indices of the tokens of the latest sequence
        self._latest: tuple[int, ...] = ()

    def add(self, token_ids: tuple[int, ...]) -> list[int]:
        """Row indices of the tokens of a sequence, of which only the new ones are appended."""
        shared = common_prefix_length(self._latest, token_ids)
        self._close(shared)
        for position in range(shared, len(token_ids)):
            self._path.append(len(self.token_ids))
            self.token_ids.append(token_ids[position])
            self.positions.append(position)
            self.subtree_ends.append(0)
        self._latest = token_ids
        return list(self._path)

    def close(self) -> None:
        """Ends every subtree that is still open."""
        self._close(0)

    def _close(self, depth: int) -> None:
        for index in self._path[depth:]:
            self.subtree_ends[index] = len(self.token_ids)
        del self._path[depth:]


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading tokens `a` and `b` share."""
    limit = min(len(a), len(b))
    if a[:limit] == b[:limit]:
        return limit
    low, high = 0, limit  # a[:low] == b[:low] and a[:high] != b[:high]
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def tree_length(request: ScoringRequest) -> int:
    """Tokens of a row that holds this request alone."""
    total, latest = 0, request.prompt_token_ids[:0]
    for sequence in sorted({request.prompt_token_ids + c[:-1] for c in request.continuations}):
        total += len(sequence) - common_prefix_length(latest, sequence)
        latest = sequence
    return total


def lay_out(
    requests: Sequence[ScoringRequest], rows: Sequence[Row], shared: bool = True
) -> PackedBatch:
    """The batch whose rows hold the given requests; every request must be in exactly one row.

    shared: False gives every continuation a row of its own, for models that take no tree.

    Raises:
        ScoreError: a request without prompt tokens or with an empty continuation.
    """
    sequences = _sequences(requests)
    filled: list[_RowTokens] = []
    scored: list[tuple[int, int, int, int]] = []  # row, index in row, target, continuation
    groups = [[s for index in row for s in sequences[index]] for row in rows]
    if not shared:
        groups = [[sequence] for group in groups for sequence in group]
    for number, group in enumerate(groups):
        row = _RowTokens()
        for sequence in sorted(group):
            path = row.add(sequence.token_ids)
            outputs = path[sequence.first_scored :]
            scored += [
                (number, at, target, sequence.continuation)
                for at, target in zip(outputs, sequence.targets, strict=True)
            ]
        row.close()
        filled.append(row)
    return _tensors(filled, sorted(scored), sum(len(r.continuations) for r in requests))


def _sequences(requests: Sequence[ScoringRequest]) -> list[list[_Sequence]]:
    result: list[list[_Sequence]] = []
    number = 0
    for prompt, continuations in requests:
        if not prompt:
            raise ScoreError("a prompt without tokens predicts nothing", "start it with BOS or EOS")
        group = []
        for continuation in continuations:
            if not continuation:
                raise ScoreError("a continuation without tokens cannot be scored")
            token_ids = tuple(prompt) + tuple(continuation[:-1])
            group.append(_Sequence(token_ids, number, len(prompt) - 1, tuple(continuation)))
            number += 1
        result.append(group)
    return result


def _tensors(
    rows: list[_RowTokens], scored: list[tuple[int, int, int, int]], n_continuations: int
) -> PackedBatch:
    width = max(len(row.token_ids) for row in rows)

    def padded(values: list[int], fill: Iterable[int]) -> list[int]:
        return [*values, *fill]

    ids, positions, ends = [], [], []
    for row in rows:
        used = len(row.token_ids)
        ids.append(padded(row.token_ids, [0] * (width - used)))
        positions.append(padded(row.positions, [0] * (width - used)))
        # Padding attends to itself, so that no row of the mask is empty (softmax would give NaN).
        ends.append(padded(row.subtree_ends, range(used + 1, width + 1)))
    flat = [row * width + index for row, index, _, _ in scored]
    unique = sorted(set(flat))
    rank = {position: number for number, position in enumerate(unique)}
    return PackedBatch(
        input_ids_RT=torch.tensor(ids),
        position_ids_RT=torch.tensor(positions),
        subtree_end_RT=torch.tensor(ends),
        length_R=torch.tensor([len(row.token_ids) for row in rows]),
        position_U=torch.tensor(unique),
        head_S=torch.tensor([rank[position] for position in flat]),
        target_S=torch.tensor([target for _, _, target, _ in scored]),
        continuation_S=torch.tensor([continuation for _, _, _, continuation in scored]),
        n_continuations=n_continuations,
    )
