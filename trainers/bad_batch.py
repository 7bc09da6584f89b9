"""The batch at which training had to stop, kept so that its numbers can be computed again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from evalkit.durable import write_text
from evalkit.records import TrainingExample, from_json, to_json

FILE = "bad_batch.json"


class BadBatch(NamedTuple):
    """What an optimizer step was given, and the log-probabilities that its forward passes gave.

    step: counted from 1. learning_rate: what the step would have applied.
    policy_logps: nats, per continuation of each example; token-level reference values are not kept.
    """

    step: int
    learning_rate: float
    examples: list[TrainingExample]
    policy_logps: list[list[float]]


def keep(file: Path, batch: BadBatch) -> None:
    """Writes a batch so that it survives whatever happens next; NaN and Infinity stand as such."""
    bare = [replace(example, reference_token_logps=None) for example in batch.examples]
    content = {**batch._asdict(), "examples": [to_json(example) for example in bare]}
    write_text(file, json.dumps(content, indent=1) + "\n")


def read(file: Path) -> BadBatch:
    """The batch that `keep` wrote; `trainers.batches.pack` makes forward passes of its examples."""
    content = json.loads(file.read_text("utf-8"))
    examples = [from_json(TrainingExample, value) for value in content.pop("examples")]
    return BadBatch(examples=examples, **content)


def split_by_example(
    examples: Sequence[TrainingExample], values: Sequence[float]
) -> list[list[float]]:
    """Values of a flat batch of continuations, example by example."""
    remaining = iter(values)
    return [[next(remaining) for _ in example.continuations] for example in examples]
