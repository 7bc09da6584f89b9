"""Numbers as cards and tables show them: rounded once, here, with unit and interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evalkit.errors import CardError
from evalkit.leaderboard import DECIMALS, Column, label
from evalkit.records import Score

EMPTY = "–"


def decimals_of(score: Score, column: Column | None = None) -> int:
    """To how many decimals a score is shown."""
    if column is not None and column.decimals is not None:
        return column.decimals
    return DECIMALS[score.scale]


def number(value: float, decimals: int) -> str:
    """A finite number with exactly so many decimals, never `-0.0`.

    Raises:
        CardError: it is not finite.
    """
    if not math.isfinite(value):
        raise CardError(
            f"a number to be shown is {value}", "measure it again: it must not be published"
        )
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def with_interval(value: float, low: float | None, high: float | None, decimals: int) -> str:
    """`61.3 [55.7, 66.6]`, or the bare value where no interval is defined."""
    shown = number(value, decimals)
    if low is None or high is None:
        return shown
    return f"{shown} [{number(low, decimals)}, {number(high, decimals)}]"


def unit_of(score: Score) -> str:
    """The unit of a score's scale for people, empty where it has none."""
    return label("scales", score.scale)


def judge_name(provenance: Mapping[str, Any]) -> str:
    """Who judged, in one phrase; empty where nobody did."""
    judge = provenance.get("judge")
    if not judge:
        return ""
    if not isinstance(judge, Mapping):
        return str(judge)
    name = str(judge.get("name") or judge.get("judge") or "judge")
    model = judge.get("model")
    if not model:
        return name
    revision = judge.get("revision")
    return f"{name}, model {model}" + (f" at {revision}" if revision else "")
