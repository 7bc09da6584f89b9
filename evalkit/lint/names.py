"""What a model's name says of it: how large it is, and which iteration."""

from __future__ import annotations

import re
from dataclasses import dataclass

_EXPERTS = re.compile(r"(?<![\w.])(\d+)x(\d+(?:\.\d+)?)(b|m)(?![a-z0-9])", re.IGNORECASE)
# A3B are the active parameters, E4B the effective ones; int8 and Q4_0 end in no unit.
_SIZE = re.compile(
    r"(?<![\d.])(?<![-_ ][ae])(?<!^[ae])(\d+(?:\.\d+)?)\s?(b|m)(\d?)(?![a-z0-9])", re.IGNORECASE
)
_ITERATION = re.compile(r"iter(?:ation)?[-_ ]?(\d+)(?!\d)", re.IGNORECASE)
SLACK = 0.08  # models of 8.5 and 32.5 billion are called 8B and 30B
_UNITS = {"m": 1e6, "b": 1e9, "million": 1e6, "billion": 1e9}


@dataclass(frozen=True)
class Size:
    """A number of parameters as it is written. step: what its last digit counts."""

    text: str
    parameters: float
    step: float

    def agrees(self, actual: float, slack: float = SLACK) -> bool:
        """Whether a model of `actual` parameters may be called so: rounded, or nearly."""
        return abs(self.parameters - actual) <= max(0.5 * self.step, slack * actual)


def size_of(number: str, unit: str) -> Size:
    """A size written as a number and a unit: `7.24` and `B`, `2.7` and `billion`."""
    factor = _UNITS[unit.lower()]
    step = factor / 10 ** len(number.partition(".")[2])
    return Size(f"{number}{unit[0].upper()}", float(number) * factor, step)


def sizes_in(name: str) -> tuple[Size, ...]:
    """The sizes that a model's name gives; none for one made of experts (`8x7B`)."""
    if _EXPERTS.search(name):
        return ()
    return tuple(size_of(_number(mark), mark[2]) for mark in _SIZE.finditer(name))


def _number(mark: re.Match[str]) -> str:
    """The number of a size; bloom-7b1 has 7.1 billion."""
    return mark[1] if "." in mark[1] or not mark[3] else f"{mark[1]}.{mark[3]}"


def is_mixture(name: str) -> bool:
    """Whether a name tells of a mixture of experts, whose size is no single number."""
    return bool(
        _EXPERTS.search(name) or re.search(r"(?<![a-z])moe(?![a-z])|-A\d+(?:\.\d+)?B", name, re.I)
    )


def iteration_in(name: str) -> int | None:
    """The iteration of self-play that a name gives: 2 of `SPPO-Iter2`."""
    found = _ITERATION.search(name)
    return int(found[1]) if found else None


def plain(name: str) -> str:
    """A name in the letters and digits by which two are the same."""
    return re.sub(r"[^a-z0-9]+", "", name.rpartition("/")[2].lower())


def billions(parameters: float) -> str:
    """A number of parameters for people: `9.24B`, `361.82M`."""
    if parameters >= 1e9:
        return f"{parameters / 1e9:.2f}".rstrip("0").rstrip(".") + "B"
    return f"{parameters / 1e6:.1f}".rstrip("0").rstrip(".") + "M"
