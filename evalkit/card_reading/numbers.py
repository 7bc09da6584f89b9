"""Numbers as cards write them: per cent, with errors, intervals, thousands, footnotes."""

from __future__ import annotations

import re
from typing import NamedTuple

from evalkit.card_reading.tables import plain

_FOOTNOTE = re.compile(r"<su[pb]\b.*?</su[pb]>", re.IGNORECASE)
_VALUE = r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_ERROR = rf"(?:±|\+/-|\+-|\\pm)\s*{_VALUE}\s*%?"
_RANGE = rf"{_VALUE}\s*%?\s*(?:,|–|-|to|;)\s*{_VALUE}\s*%?"
_WRITTEN = re.compile(
    rf"(?:~|≈)?\s*(?P<value>{_VALUE}|-?nan|[-+]?inf)\s*(?P<percent>%)?"
    rf"\s*(?P<spread>{_ERROR}|\(\s*{_ERROR}\)|\[\s*{_RANGE}\s*\]|\(\s*{_RANGE}\s*\))?"
    rf"\s*(?P<late_percent>%)?\s*(?:\(\s*[+\-−↑↓]\s*{_VALUE}\s*%?\s*\))?\s*[†‡*↑↓✓✅🏆]*",
    re.IGNORECASE,
)
_LONGEST = 300  # characters of a cell that is read as a number, its markup included
_SLACK = 1e-9  # of binary fractions


class Written(NamedTuple):
    """A number as it stands in a card. has_spread: an error or an interval stands beside it."""

    text: str
    value: float
    decimals: int
    is_percent: bool = False
    has_spread: bool = False


def number_of(cell: str) -> Written | None:
    """The one number that a cell holds; None for text, differences and several numbers."""
    text = plain(_FOOTNOTE.sub("", cell)) if len(cell) <= _LONGEST else ""
    mark = _WRITTEN.fullmatch(text)
    if mark is None:
        return None
    is_percent = bool(mark["percent"] or mark["late_percent"])
    return Written(text, *value_of(mark["value"]), is_percent, bool(mark["spread"]))


def value_of(digits: str) -> tuple[float, int]:
    """The value of digits with commas between thousands, and how many decimals it shows."""
    digits = digits.replace(",", "").replace("−", "-")
    return float(digits), len(digits.partition(".")[2])


def half_a_step(decimals: int) -> float:
    """How far a value can lie from what is shown of it."""
    return 0.5 * 10.0**-decimals


def agree(value: float, decimals: int, other: float, other_decimals: int) -> bool:
    """Whether two numbers can be one, of which the coarser one is the rounded."""
    if decimals == other_decimals:
        return abs(value - other) <= _SLACK * max(1.0, abs(value))
    return abs(value - other) <= half_a_step(min(decimals, other_decimals)) + _SLACK
