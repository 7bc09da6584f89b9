"""Decides which requests share a row and which rows share a forward pass.

Plans depend on the token ids and the budget only, so that equal work is always
laid out equally: another layout rounds differently.
"""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.roles import ScoringRequest
from evalkit.scoring.layout import BatchLayout, Row, tree_length

ROW_TOKENS = 512  # longer rows waste dense attention; shorter ones share less
CPU_TOKEN_BUDGET = 512
# One pair or so at a time: activations are kept, and a CPU is busy with few tokens. Short requests
# still share passes, whose overhead they would else mostly be.
CPU_TRAINING_TOKEN_BUDGET = 1024
GPU_TOKEN_BUDGET = 16384


def default_token_budget(device_type: str, training: bool = False) -> int:
    """Padded tokens per forward pass that keep a device of this type busy.

    training: for passes that go backward, too, and for the reference pass, which is laid out alike.
    """
    if device_type != "cpu":
        return GPU_TOKEN_BUDGET
    return CPU_TRAINING_TOKEN_BUDGET if training else CPU_TOKEN_BUDGET


def default_row_tokens(token_budget: int, dense: bool) -> int:
    """Tokens up to which requests share a row when a checkpoint is scored.

    dense: attention in a row takes time with the square of its length.
    """
    return min(ROW_TOKENS, token_budget) if dense else token_budget


def split_by_tokens(
    requests: Sequence[ScoringRequest], token_budget: int, layout: BatchLayout
) -> list[list[int]]:
    """Indices of the requests of each forward pass, alike in length and, padded, within the budget.

    A request larger than the budget gets a pass of its own.
    """
    sizes = [laid_out_length(request, layout) for request in requests]
    passes: list[list[int]] = []
    for index in _by_size(sizes):
        joined = [*passes[-1], index] if passes else []
        parts = [requests[i] for i in joined], [sizes[i] for i in joined]
        if joined and _slots(*parts, layout) <= token_budget:
            passes[-1] = joined
        else:
            passes.append([index])
    return [sorted(group) for group in passes]


def laid_out_length(request: ScoringRequest, layout: BatchLayout) -> int:
    """Tokens that a request takes in a forward pass of its own, padding included."""
    if layout == "tree":
        return tree_length(request)
    if layout == "packed":
        return separate_length(request)
    return _padded_slots([request], layout)


def separate_length(request: ScoringRequest) -> int:
    """Tokens of a request when each continuation is read after a prompt of its own."""
    prompt = len(request.prompt_token_ids)
    return sum(prompt + len(continuation) - 1 for continuation in request.continuations)


def fill_rows(requests: Sequence[ScoringRequest], layout: BatchLayout = "tree") -> list[Row]:
    """Which requests share a row.

    Rows of trees are no longer than the longest request needs, filled first-fit by decreasing
    length; packed, all requests are in one row, and else each is by itself.
    """
    if layout == "packed":
        return [list(range(len(requests)))]
    if layout != "tree":
        return [[index] for index in range(len(requests))]
    return _first_fit([tree_length(request) for request in requests])


def _slots(requests: Sequence[ScoringRequest], sizes: Sequence[int], layout: BatchLayout) -> int:
    """Tokens that are computed for requests of these sizes together, padding included."""
    if layout == "packed":
        return sum(sizes)
    if layout == "tree":
        return len(_first_fit(sizes)) * max(sizes)
    return _padded_slots(requests, layout)


def _padded_slots(requests: Sequence[ScoringRequest], layout: BatchLayout) -> int:
    prompts = [len(request.prompt_token_ids) for request in requests]
    # The last token of a continuation is predicted and not read.
    longest = [max(map(len, request.continuations), default=1) - 1 for request in requests]
    count = sum(len(request.continuations) for request in requests)
    if layout == "cache":
        return len(requests) * max(prompts) + count * max(longest)
    return count * max(map(sum, zip(prompts, longest, strict=True)))


def _first_fit(sizes: Sequence[int]) -> list[Row]:
    """Indices of sizes in rows no longer than the largest, filled by decreasing size."""
    capacity = max(sizes)
    rows: list[Row] = []
    used: list[int] = []
    for index in _by_size(sizes):
        room = (n for n, tokens in enumerate(used) if tokens + sizes[index] <= capacity)
        row = next(room, len(rows))
        if row == len(rows):
            rows.append([])
            used.append(0)
        rows[row].append(index)
        used[row] += sizes[index]
    return [sorted(row) for row in rows]


def _by_size(sizes: Sequence[int]) -> list[int]:
    return sorted(range(len(sizes)), key=lambda index: (-sizes[index], index))
