"""Where reference log-probabilities are kept: a journal of batches while they are computed, then
one binary file, which serves every later training on the same weights and tokens.

cache/reference-KEY.safetensors   `logps` of continuations and `token_logps`, float32, in order
cache/reference-KEY.parts/        the journals of a pass that is under way, one per process
"""

from __future__ import annotations

import base64
import shutil
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.console import say
from evalkit.durable import write_bytes
from evalkit.errors import gist
from evalkit.journal import Journal
from evalkit.records import TrainingExample


class Logps(NamedTuple):
    """Log-probabilities (nats, float32) of one example's continuations: summed, and by token."""

    sums: array[float]
    tokens: tuple[array[float], ...]


class ReferenceCache:
    """The files of one reference pass, bound to `key` by name and content."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self._file = folder / f"reference-{key[:16]}.safetensors"
        self._parts = self._file.with_suffix(".parts")

    def load(self, examples: Sequence[TrainingExample]) -> list[Logps] | None:
        """What a finished pass over these examples left, None without one."""
        from safetensors import SafetensorError, safe_open

        if not self._file.is_file():
            return None
        try:
            with safe_open(self._file, "np") as content:
                if content.metadata()["key"] != self._key:
                    return None
                sums, tokens = (
                    array("f", content.get_tensor(name).tobytes())
                    for name in ("logps", "token_logps")
                )
        except (SafetensorError, OSError) as error:
            say(f"note: {self._file} is damaged ({gist(error, 60)}): it is computed again")
            return None
        return split(examples, sums, tokens)

    def keep(self, logps: Sequence[Logps]) -> None:
        """Writes a finished pass, and removes its journals."""
        import numpy as np
        from safetensors.numpy import save

        sums, tokens = joined(logps)
        tensors = {
            "logps": np.frombuffer(sums, dtype=np.float32),
            "token_logps": np.frombuffer(tokens, dtype=np.float32),
        }
        write_bytes(self._file, save(tensors, metadata={"key": self._key}))

    def journal(self, rank: int) -> PassJournal:
        """The batches that this process has done so far."""
        self._parts.mkdir(parents=True, exist_ok=True)
        return PassJournal(self._parts / f"rank-{rank}.jsonl")

    def remove_others(self) -> None:
        """Removes what earlier settings or weights left, and finished journals."""
        for path in self._folder.glob("reference-*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif path != self._file:
                path.unlink()


class PassJournal:
    """A process's finished batches by number; a kill loses at most the one under way."""

    def __init__(self, file: Path) -> None:
        self._journal = Journal(file)
        self.budget_file = file.with_suffix(".budget.json")

    def get(self, batch: int, examples: Sequence[TrainingExample]) -> list[Logps] | None:
        """What was kept of a batch of these examples, None if nothing."""
        answer = self._journal.get(str(batch))
        if answer is None:
            return None
        sums, tokens = (array("f", base64.b64decode(text)) for text in answer)
        return split(examples, sums, tokens)

    def put(self, batch: int, logps: Sequence[Logps]) -> None:
        """Keeps a finished batch durably."""
        text = [base64.b64encode(numbers.tobytes()).decode() for numbers in joined(logps)]
        self._journal.put(str(batch), text)


def split(
    examples: Sequence[TrainingExample], sums: array[float], tokens: array[float]
) -> list[Logps]:
    """Flat numbers of continuations, and of their tokens, example by example."""
    found: list[Logps] = []
    n = s = 0
    for example in examples:
        by_token = []
        for ids in example.continuations:
            by_token.append(tokens[s : s + len(ids)])
            s += len(ids)
        found.append(Logps(sums[n : n + len(by_token)], tuple(by_token)))
        n += len(by_token)
    return found


def joined(logps: Sequence[Logps]) -> tuple[array[float], array[float]]:
    """The flat numbers that `split` takes apart."""
    sums, tokens = array("f"), array("f")
    for one in logps:
        sums += one.sums
        for continuation in one.tokens:
            tokens += continuation
    return sums, tokens
