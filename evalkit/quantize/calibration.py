"""Calibration sequences: chosen with a seed, cut, counted, digested, batched without padding."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.errors import RecipeError

# A batch's activations are held in fp32 for the Hessians: this bounds them to
# about 4096 x intermediate_size x 4 bytes.
MAX_BATCH_TOKENS = 4096


class Calibration(NamedTuple):
    """The sequences that a scheme sees, in the order in which it sees them."""

    sequences: tuple[tuple[int, ...], ...]
    seed: int

    @property
    def tokens(self) -> int:
        """How many tokens there are in all sequences."""
        return sum(len(sequence) for sequence in self.sequences)

    def record(self) -> dict[str, Any]:
        """What a card or a re-run must know: counts, seed, and a digest of the token ids."""
        text = json.dumps(self.sequences, separators=(",", ":"))
        return {
            "sequences": len(self.sequences),
            "tokens": self.tokens,
            "seed": self.seed,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }


def choose(
    offered: Sequence[Sequence[int]],
    *,
    samples: int,
    max_length: int,
    vocabulary: int,
    seed: int,
) -> Calibration:
    """At most `samples` of the offered sequences, each cut to `max_length` tokens.

    Raises:
        RecipeError: nothing is offered, or a token id is outside the vocabulary.
    """
    usable = [tuple(sequence[:max_length]) for sequence in offered if len(sequence)]
    if not usable:
        raise RecipeError(
            "this scheme needs calibration sequences, and there are none",
            "give the variant calibration data, or use w4a16_rtn or fp8_dynamic, which need none",
        )
    highest = max(max(sequence) for sequence in usable)
    if highest >= vocabulary:
        raise RecipeError(
            f"calibration token id {highest} is outside the model's vocabulary of {vocabulary}",
            "tokenize the calibration data with the checkpoint's own tokenizer",
        )
    if len(usable) > samples:
        usable = random.Random(seed).sample(usable, samples)
    return Calibration(tuple(usable), seed)


def batches(calibration: Calibration) -> list[list[tuple[int, ...]]]:
    """The sequences in batches of equal length.

    No token is padded, cut or attended to across sequences, so the Hessians are
    those of one sequence at a time, in a fraction of the forward passes.
    """
    by_length: dict[int, list[tuple[int, ...]]] = {}
    for sequence in calibration.sequences:
        by_length.setdefault(len(sequence), []).append(sequence)
    result = []
    for length, group in sorted(by_length.items()):
        step = max(1, MAX_BATCH_TOKENS // length)
        result += [group[start : start + step] for start in range(0, len(group), step)]
    return result
