"""MT-Bench's numbers from recorded ratings: pure functions, no model and no judge."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.metrics.score import measured
from evalkit.records import Score
from evalkit.stats import Interval, clustered_mean_interval

_MARKED = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))


class Rating(NamedTuple):
    """The judge's rating (1 to 10) of one answer; None where it failed. turn counts from 1.

    by: the model that judged, by its server's own account; empty where that is not known.
    """

    question_id: str
    category: str
    turn: int
    score: float | None
    judgment: str = ""
    by: str = ""


def parse_rating(judgment: str) -> float | None:
    """The first number in double brackets, else the first in single ones; None without either.

    Source: lm-sys/FastChat, fastchat/llm_judge/common.py, one_score_pattern (release 0.2.36).
    """
    found = next((match for marked in _MARKED if (match := marked.search(judgment))), None)
    return None if found is None else float(found[1])


class RatingSummary(NamedTuple):
    """A mean over valid ratings with its interval, and how many ratings failed."""

    interval: Interval
    missing: int


def summarise(ratings: Sequence[Rating]) -> dict[str, RatingSummary]:
    """`average`, `turn_1`, `turn_2`, ..., then each `category_<name>`; none without ratings.

    Each is the mean of all valid ratings it covers, so `average` is not the mean of the
    turns where some failed, and repeated judgements count as often as they are there.
    Intervals take all ratings of one question as one observation.

    Source: lm-sys/FastChat, fastchat/llm_judge/show_result.py (release 0.2.36).
    """
    turns = sorted({rating.turn for rating in ratings})
    categories = sorted({rating.category for rating in ratings if rating.category})
    parts: dict[str, Callable[[Rating], bool]] = {"average": lambda rating: True}
    parts |= {f"turn_{turn}": _of_turn(turn) for turn in turns}
    parts |= {f"category_{name}": _of_category(name) for name in categories}
    found = {
        name: _summary([rating for rating in ratings if chosen(rating)])
        for name, chosen in parts.items()
    }
    return {name: summary for name, summary in found.items() if summary is not None}


def rating_scores(task: str, ratings: Sequence[Rating], settings: Mapping[str, Any]) -> list[Score]:
    """The Scores of `summarise`, `average` first."""
    return [
        measured(task, metric, found.interval, "rating", missing=found.missing, settings=settings)
        for metric, found in summarise(ratings).items()
    ]


def _of_turn(turn: int) -> Callable[[Rating], bool]:
    return lambda rating: rating.turn == turn


def _of_category(category: str) -> Callable[[Rating], bool]:
    return lambda rating: rating.category == category


def _summary(ratings: Sequence[Rating]) -> RatingSummary | None:
    valid = [rating for rating in ratings if rating.score is not None]
    if not valid:
        return None
    values = [float(rating.score) for rating in valid if rating.score is not None]
    interval = clustered_mean_interval(values, [rating.question_id for rating in valid])
    # A judge may have said 0, or 11: published means have it in them.
    interval = interval.clipped(min(1, *values), max(10, *values))
    return RatingSummary(interval, len(ratings) - len(valid))
