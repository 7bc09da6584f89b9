"""One figure that a card states: a number, and what of which model it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evalkit.card_reading.numbers import agree
from evalkit.card_reading.task_names import AVERAGE
from evalkit.records import Scale

Place = Literal["table", "prose", "metadata"]


@dataclass(frozen=True)
class Figure:
    """A score as a card states it. value, decimals: as written; not finite where that is written.

    line: of the file. text: the number as written, with its error or interval.
    model: the name as written; None for the card's own model, however it is named there.
    repo: the Hub id that the name links to, of others' models.
    task, metric: canonical; the task `average` is the mean of several, which
        `settings["tasks"]` counts and `settings["leaderboard"]` names where that is known.
    settings: what the card says of how it was asked (`few_shot`, `filter`, `judge`...).
    scale: `unit` where a share is written as a part of 1; has_spread: an interval stands beside it.
    """

    line: int
    text: str
    value: float
    decimals: int
    model: str | None
    task: str
    metric: str | None
    where: Place
    settings: Mapping[str, Any] = field(default_factory=dict)
    scale: Scale = "percent"
    repo: str | None = None
    has_spread: bool = False

    @property
    def is_average(self) -> bool:
        """Whether it is the mean of several tasks."""
        return self.task == AVERAGE

    @property
    def on_scale(self) -> tuple[float, int]:
        """Value and decimals on the task's scale: parts of 1 as percents."""
        if self.scale != "unit":
            return self.value, self.decimals
        return self.value * 100, max(0, self.decimals - 2)

    def equals(self, value: float, decimals: int) -> bool:
        """Whether it can be this number, of which shares are percents."""
        return agree(*self.on_scale, value, decimals)

    def agrees(self, other: Figure) -> bool:
        """Whether both can be one number, each as precise as it is written."""
        return agree(*self.on_scale, *other.on_scale)

    def is_of_same(self, other: Figure) -> bool:
        """Whether both are the same metric of the same task, as far as the card says."""
        return (
            self.task == other.task
            and (self.metric == other.metric or None in (self.metric, other.metric))
            and all(value == other.settings.get(key, value) for key, value in self.settings.items())
        )
