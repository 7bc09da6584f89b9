"""MT-Bench's pairwise numbers from recorded matches: pure functions, no model and no judge.

A match is a turn of a question that two models have answered, judged in two games: one with
each of them shown first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from evalkit.metrics.score import measured
from evalkit.records import Score
from evalkit.stats import Interval, clustered_mean_interval

Winner = Literal["model_1", "model_2", "tie"]
_WORTH: Mapping[str, float] = {"win": 1.0, "tie": 0.5, "loss": 0.0}


class Match(NamedTuple):
    """Two games about one turn (from 1), model_1 shown first in the first; None: it failed.

    by: the model that judged each, by its server's own account; empty where that is not known.
    """

    question_id: str
    category: str
    turn: int
    model_1: str
    model_2: str
    first_game: Winner | None
    second_game: Winner | None
    judgments: tuple[str, str] = ("", "")
    by: tuple[str, str] = ("", "")

    @property
    def outcome(self) -> Winner | None:
        """The winner of both games, else a tie; None where a game failed.

        Source: lm-sys/FastChat, fastchat/llm_judge/show_result.py (release 0.2.36).
        """
        if self.first_game is None or self.second_game is None:
            return None
        return self.first_game if self.is_consistent else "tie"

    @property
    def is_consistent(self) -> bool:
        """Whether both games say the same; only of matches without a failed one."""
        return self.first_game == self.second_game


def parse_winner(judgment: str) -> Literal["A", "B", "tie"] | None:
    """Who won a game: the first of the three marks, in this order, that is anywhere in the text.

    Source: lm-sys/FastChat, fastchat/llm_judge/common.py, run_judge_pair (release 0.2.36).
    """
    if "[[A]]" in judgment:
        return "A"
    if "[[B]]" in judgment:
        return "B"
    return "tie" if "[[C]]" in judgment else None


class MatchSummary(NamedTuple):
    """One model's matches; rates in percent.

    win_rate: wins of all judged matches. win_rate_adjusted: a tie is half a win.
    missing: matches with a failed game. inconsistent: judged ones whose games disagree.
    """

    win_rate: Interval
    loss_rate: Interval
    win_rate_adjusted: Interval
    wins: int
    losses: int
    ties: int
    missing: int
    inconsistent: int


def match_summary(matches: Sequence[Match], model: str) -> MatchSummary | None:
    """The numbers of one model over its matches; None where none was judged.

    Intervals take all matches about one question as one observation.

    Source: lm-sys/FastChat, fastchat/llm_judge/show_result.py, display_result_pairwise (0.2.36).
    """
    own = [match for match in matches if model in (match.model_1, match.model_2)]
    judged = [match for match in own if match.outcome is not None]
    if not judged:
        return None
    results = [result_of(match, model) for match in judged]
    questions = [match.question_id for match in judged]

    def rate(worth: Mapping[str, float]) -> Interval:
        values = [worth.get(str(result), 0.0) for result in results]
        return clustered_mean_interval(values, questions).scaled(100).clipped(0, 100)

    return MatchSummary(
        win_rate=rate({"win": 1.0}),
        loss_rate=rate({"loss": 1.0}),
        win_rate_adjusted=rate(_WORTH),
        wins=results.count("win"),
        losses=results.count("loss"),
        ties=results.count("tie"),
        missing=len(own) - len(judged),
        inconsistent=sum(not match.is_consistent for match in judged),
    )


def result_of(match: Match, model: str) -> Literal["win", "loss", "tie"] | None:
    """How a match went for one of its models; None where a game failed."""
    outcome = match.outcome
    if outcome is None or outcome == "tie":
        return outcome
    return "win" if model == getattr(match, outcome) else "loss"


def worth_of(match: Match, model: str) -> float | None:
    """100 for a win, 50 for a tie, 0 for a loss; None where a game failed."""
    result = result_of(match, model)
    return None if result is None else 100 * _WORTH[result]


def players(matches: Sequence[Match]) -> list[str]:
    """The models, in the order in which they are met."""
    return list(dict.fromkeys(name for m in matches for name in (m.model_1, m.model_2)))


def against(matches: Sequence[Match], baseline: str) -> list[Match]:
    """The matches in which a model plays."""
    return [match for match in matches if baseline in (match.model_1, match.model_2)]


def match_scores(
    task: str, matches: Sequence[Match], model: str, settings: Mapping[str, Any]
) -> list[Score]:
    """A model's Scores, the adjusted win rate first; none where no match was judged."""
    found = match_summary(matches, model)
    if found is None:
        return []
    facts: dict[str, Any] = {"missing": found.missing, "settings": settings}
    rates = {"win_rate_adjusted": True, "win_rate": True, "loss_rate": False}
    scores = [
        measured(task, name, getattr(found, name), "percent", higher_is_better=better, **facts)
        for name, better in rates.items()
    ]
    counts = {
        "n_wins": found.wins,
        "n_losses": found.losses,
        "n_ties": found.ties,
        "n_inconsistent": found.inconsistent,
    }
    n = found.win_rate.n
    return scores + [
        Score(task, name, float(count), n, "count", **facts) for name, count in counts.items()
    ]
