"""Lays out continuations of prompts as rows of tokens, in one of four layouts.

tree: a row is a trie in depth-first order, in which a shared prefix stands once: each token
attends to its ancestors only, and one integer per token (where its subtree ends) says all of
the attention mask. cache: a row for each prompt, and one for each continuation that goes on from
the prompt's keys and values. packed: all sequences end to end in one row, told apart by
positions that restart. padded: a row for each sequence.
Shape suffixes: R rows, T tokens of a row, U scored positions, S scored tokens, N continuations,
B rows of continuations that go on from a prompt's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from evalkit.errors import ScoreError
from evalkit.roles import ScoringRequest

Row = list[int]  # indices of requests that share one row
BatchLayout = Literal["tree", "cache", "packed", "padded"]


class Branches(NamedTuple):
    """Rows that go on where a prompt ends: right padded, with the prompt's row for each."""

    input_ids_BT: Tensor
    position_ids_BT: Tensor
    length_B: Tensor
    prompt_B: Tensor


class PackedBatch(NamedTuple):
    """Rows of tokens, and which of their outputs are scored against what.

    forked: whether any row is more than one sequence from its first position on.
    input_ids_RT, position_ids_RT: right padded (prompts of the cache layout: left padded);
        positions restart for every sequence.
    subtree_end_RT: index in the row just behind the last token that descends from this one.
    length_R: tokens of each row that are no padding.
    branches: of the cache layout, where any continuation is longer than one token.
    position_U: indices, ascending, of outputs that predict anything, into the flattened R*T
        followed by the flattened rows of `branches`.
    head_S, target_S, continuation_S: for each scored token the entry of U that predicts it, its
        id, and its continuation (0..N-1 in request order); ascending in head_S, and within a
        continuation in the order its tokens are read.
    n_continuations: N.
    """

    layout: BatchLayout
    forked: bool
    input_ids_RT: Tensor
    position_ids_RT: Tensor
    subtree_end_RT: Tensor
    length_R: Tensor
    branches: Branches | None
    position_U: Tensor
    head_S: Tensor
    target_S: Tensor
    continuation_S: Tensor
    n_continuations: int

    @property
    def n_slots(self) -> int:
        """Tokens that are computed, padding included."""
        branches = 0 if self.branches is None else self.branches.input_ids_BT.numel()
        return self.input_ids_RT.numel() + branches

    @property
    def n_tokens(self) -> Tensor:
        """Those of them that are no padding."""
        total = self.length_R.sum()
        return total if self.branches is None else total + self.branches.length_B.sum()

    def to(self, device: Any) -> PackedBatch:
        """The same batch on `device`."""
        moved = {
            name: value.to(device)
            for name, value in self._asdict().items()
            if isinstance(value, Tensor)
        }
        if self.branches is not None:
            moved["branches"] = Branches(*(tensor.to(device) for tensor in self.branches))
        return self._replace(**moved)


class _Sequence(NamedTuple):
    token_ids: tuple[int, ...]
    continuation: int
    first_scored: int  # index of the output that predicts the continuation's first token
    targets: tuple[int, ...]


class _Scored(NamedTuple):
    """A scored token: where its prediction stands in the rows, what it is."""

    row: int
    column: int
    target: int
    continuation: int


class _RowTokens:
    """One row being filled, sequence by sequence in lexicographic order."""

    def __init__(self, above: int) -> None:
        self._above = above
        self.token_ids: list[int] = []
        self.positions: list[int] = []
        self.subtree_ends: list[int] = []
        self._path: list[int] = []  # row indices of the tokens of the latest sequence
        self._latest: tuple[int, ...] = ()

    def add(self, token_ids: tuple[int, ...], share: bool = True) -> list[int]:
        """Row indices of the tokens of a sequence, of which only the new ones are appended.

        share: False appends all of them.
        """
        shared = common_prefix_length(self._latest, token_ids) if share else 0
        self._close(shared)
        for position in range(shared, len(token_ids)):
            self._path.append(len(self.token_ids))
            self.token_ids.append(token_ids[position])
            self.positions.append(self._above + position)
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
    requests: Sequence[ScoringRequest],
    rows: Sequence[Row],
    layout: BatchLayout = "tree",
    above: int = 0,
) -> PackedBatch:
    """The batch whose rows hold the given requests; every request must be in exactly one row.

    rows: what shares a row of a tree. Other layouts take all that is in them, in this order.
    above: so many first tokens of every prompt are in a stem, not in the rows; fewer than any has.

    Raises:
        ScoreError: a request without prompt tokens or with an empty continuation.
    """
    sequences = _sequences(requests, above)
    order = [index for row in rows for index in row]
    if layout == "cache":
        return _prompts_and_branches([requests[i] for i in order], [sequences[i] for i in order])
    groups = [[s for index in row for s in sequences[index]] for row in rows]
    if layout == "packed":
        groups = [[sequence for group in groups for sequence in group]]
    elif layout == "padded":
        groups = [[sequence] for group in groups for sequence in group]
    filled: list[_RowTokens] = []
    scored: list[_Scored] = []
    for number, group in enumerate(groups):
        row = _RowTokens(above)
        for sequence in sorted(group) if layout == "tree" else group:
            path = row.add(sequence.token_ids, share=layout == "tree")
            outputs = path[sequence.first_scored :]
            scored += [
                _Scored(number, at, target, sequence.continuation)
                for at, target in zip(outputs, sequence.targets, strict=True)
            ]
        row.close()
        filled.append(row)
    return _tensors(layout, filled, scored)


def _sequences(requests: Sequence[ScoringRequest], above: int) -> list[list[_Sequence]]:
    result: list[list[_Sequence]] = []
    number = 0
    for prompt, continuations in requests:
        if not prompt:
            raise ScoreError("a prompt without tokens predicts nothing", "start it with BOS or EOS")
        group = []
        for continuation in continuations:
            if not continuation:
                raise ScoreError("a continuation without tokens cannot be scored")
            token_ids = tuple(prompt[above:]) + tuple(continuation[:-1])
            first = len(prompt) - above - 1
            group.append(_Sequence(token_ids, number, first, tuple(continuation)))
            number += 1
        result.append(group)
    return result


def _tensors(layout: BatchLayout, rows: list[_RowTokens], scored: list[_Scored]) -> PackedBatch:
    width = max(len(row.token_ids) for row in rows)
    used = [len(row.token_ids) for row in rows]
    # Padding attends to itself, so that no row of the mask is empty (softmax would give NaN).
    ends = [
        row.subtree_ends + list(range(n + 1, width + 1)) for row, n in zip(rows, used, strict=True)
    ]
    flat = [(token.row * width + token.column, token) for token in scored]
    return PackedBatch(
        layout=layout,
        forked=any(row.positions != list(range(len(row.positions))) for row in rows),
        input_ids_RT=_padded([row.token_ids for row in rows], width),
        position_ids_RT=_padded([row.positions for row in rows], width),
        subtree_end_RT=torch.tensor(ends),
        length_R=torch.tensor(used),
        branches=None,
        **_scored_tensors(flat),
    )


def _prompts_and_branches(
    requests: list[ScoringRequest], sequences: list[list[_Sequence]]
) -> PackedBatch:
    """Prompts are padded on the left: from one token to the next is one step for every window."""
    prompts = [list(request.prompt_token_ids) for request in requests]
    width = max(map(len, prompts))
    branches: list[tuple[int, _Sequence]] = []
    for number, group in enumerate(sequences):
        branches += [(number, sequence) for sequence in group if len(sequence.targets) > 1]
    tails = [list(s.token_ids[s.first_scored + 1 :]) for _, s in branches]
    tail_width = max(map(len, tails), default=0)
    flat: list[tuple[int, _Scored]] = []
    for number, group in enumerate(sequences):
        last = number * width + width - 1
        flat += [(last, _Scored(number, last, s.targets[0], s.continuation)) for s in group]
    for number, (_, sequence) in enumerate(branches):
        start = len(prompts) * width + number * tail_width
        flat += [
            (start + index, _Scored(number, index, target, sequence.continuation))
            for index, target in enumerate(sequence.targets[1:])
        ]
    starts = [len(prompts[number]) for number, _ in branches]
    positions = [list(range(a, a + len(t))) for a, t in zip(starts, tails, strict=True)]
    lengths = [len(prompt) for prompt in prompts]
    return PackedBatch(
        layout="cache",
        forked=False,
        input_ids_RT=_padded(prompts, width, left=True),
        position_ids_RT=_padded([list(range(n)) for n in lengths], width, left=True),
        subtree_end_RT=torch.full((len(prompts), width), width),
        length_R=torch.tensor(lengths),
        branches=Branches(
            input_ids_BT=_padded(tails, tail_width),
            position_ids_BT=_padded(positions, tail_width),
            length_B=torch.tensor([len(tail) for tail in tails]),
            prompt_B=torch.tensor([number for number, _ in branches]),
        )
        if branches
        else None,
        **_scored_tensors(flat),
    )


def _padded(rows: list[list[int]], width: int, left: bool = False) -> Tensor:
    return torch.tensor(
        [[0] * (width - len(row)) + row if left else row + [0] * (width - len(row)) for row in rows]
    )


def _scored_tensors(flat: list[tuple[int, _Scored]]) -> dict[str, Any]:
    """The last five fields of a batch, from each scored token and the index of its output."""
    flat = sorted(flat, key=lambda item: (item[0], item[1].continuation))
    unique = sorted({position for position, _ in flat})
    rank = {position: number for number, position in enumerate(unique)}
    return {
        "position_U": torch.tensor(unique),
        "head_S": torch.tensor([rank[position] for position, _ in flat]),
        "target_S": torch.tensor([token.target for _, token in flat]),
        "continuation_S": torch.tensor([token.continuation for _, token in flat]),
        "n_continuations": len({token.continuation for _, token in flat}),
    }
