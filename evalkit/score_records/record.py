"""What a number on a card resolves to: the score, whose it is, and what its origin owes a reader.

Nothing is left out in silence: a fact that cannot be known is an `unknown`, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from evalkit.errors import CardError
from evalkit.fingerprint import fingerprint
from evalkit.records import Score

Origin = Literal["measured", "imported", "reported"]
# What `source` holds, by origin; further facts may stand beside these.
REQUIRED: Mapping[Origin, Mapping[str, str]] = {
    "measured": {
        "weights": "sha256 over the weights that were measured",
        "data": "revision or digest of the items",
        "harness": "what computed the score, with its version",
        "few_shot": "how many worked examples stood before each item",
        "chat_template": "sha256 of the chat template; null where none was applied",
        "judge": "identity of the judge; null where nobody judged",
        "seed": "what everything random was drawn with",
        "interval": "how the 95 % interval was computed",
        "command": "what measures it again",
    },
    "imported": {
        "tool": "which tool wrote the file",
        "file": "its name",
        "sha256": "its digest",
        "model": "what the file calls the model",
        "stated": "what else the file says of how the score came about",
    },
    "reported": {
        "url": "where it is reported",
        "date": "when it was read there",
    },
}
_MAY_BE_NULL = {"chat_template", "judge"}


def unknown(reason: str) -> dict[str, str]:
    """What stands for a fact that cannot be known.

    Raises:
        CardError: no reason is given.
    """
    if not reason.strip():
        raise CardError("a fact is said to be unknown without a reason", "say why it is not known")
    return {"unknown": reason}


def is_unknown(value: Any) -> bool:
    """Whether a fact is said to be unknown."""
    return isinstance(value, Mapping) and set(value) == {"unknown"}


@dataclass(frozen=True)
class ScoreRecord:
    """A score of a model on a benchmark.

    model: its title, as cards call it. source: what `REQUIRED` lists for the origin.

    Raises:
        CardError: a number is not finite, or something that the origin requires is missing.
    """

    model: str
    benchmark: str
    score: Score
    origin: Origin
    source: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.origin not in REQUIRED:
            raise CardError(f"{self.name} has no origin", f"one of: {', '.join(REQUIRED)}")
        self._refuse_numbers()
        for key, meaning in REQUIRED[self.origin].items():
            self._refuse_missing(key, meaning)

    @property
    def name(self) -> str:
        """Of what it is, for messages: `acc of mmlu (lm_eval_tasks), model X`."""
        score = self.score
        return f"{score.metric} of {score.task} ({self.benchmark}), model {self.model}"

    @cached_property
    def digest(self) -> str:
        """sha256 of its canonical JSON, by which it is named."""
        return fingerprint(self)

    def _refuse_numbers(self) -> None:
        score = self.score
        numbers = {"value": score.value, "standard error": score.stderr,
                   "lower limit": score.ci_low, "upper limit": score.ci_high}  # fmt: skip
        for what, number in numbers.items():
            if number is not None and not math.isfinite(number):
                raise CardError(
                    f"the {what} of {self.name} is {number}",
                    "measure it again: it must not be published",
                )
        if self.origin == "measured" and not score.n:
            raise CardError(f"{self.name} was measured on {score.n or 'no'} items")

    def _refuse_missing(self, key: str, meaning: str) -> None:
        value: Any = self.source.get(key)
        if is_unknown(value) and str(value["unknown"]).strip():
            return
        absent = key not in self.source or value == "" or is_unknown(value)
        if absent or (value is None and key not in _MAY_BE_NULL):
            raise CardError(
                f"the record of {self.name}, {self.origin}, does not say '{key}': {meaning}",
                'state it, or {"unknown": "the reason"} where it cannot be known',
            )
