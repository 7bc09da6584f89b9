"""Single-answer grading: a judge rates every answer from 1 to 10, seen in its conversation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from evalkit.errors import ScoreError
from evalkit.metrics.ratings import Rating
from evalkit.records import Question, Response, Sample
from evalkit.roles import Judge, Progress, RatingRequest


def rate(
    judge: Judge,
    questions: Sequence[Question],
    answers: Sequence[tuple[str, ...]],
    progress: Progress,
) -> list[Rating]:
    """One rating of every answer, the judge seeing the conversation up to it.

    Raises:
        ScoreError: the judge rated none.
    """
    asked = rating_requests(questions, answers)
    verdicts = judge.rate(asked, progress)
    ratings = [
        Rating(one.id, one.category, len(given), verdict.value, verdict.reason, verdict.by)
        for (one, given), verdict in zip(asked, verdicts, strict=True)
    ]
    if all(rating.score is None for rating in ratings):
        reason = next((r.judgment for r in ratings if r.judgment), "no reason given")
        raise ScoreError(
            f"the judge rated no answer of {len(ratings)}: {reason}", "look at the judge"
        )
    return ratings


def rating_requests(
    questions: Sequence[Question], answers: Sequence[tuple[str, ...]]
) -> list[RatingRequest]:
    """What `rate` asks the judge."""
    return [
        RatingRequest(question, given[:turn])
        for question, given in zip(questions, answers, strict=True)
        for turn in range(1, len(given) + 1)
    ]


def rating_samples(
    task: str,
    questions: Sequence[Question],
    conversations: Sequence[Sequence[Response]],
    ratings: Sequence[Rating],
) -> list[Sample]:
    """One per question: its ratings, and the conversation with its judgments."""
    by_question: dict[str, list[Rating]] = defaultdict(list)
    for rating in ratings:
        by_question[rating.question_id].append(rating)
    return [
        Sample(
            question.id,
            task,
            _metrics(question, by_question[question.id]),
            {
                "turns": [turn.content for turn in question.turns],
                "answers": [response.text for response in responses],
                "finish_reasons": [response.finish_reason for response in responses],
                "judgments": [rating.judgment for rating in by_question[question.id]],
            },
        )
        for question, responses in zip(questions, conversations, strict=True)
    ]


def _metrics(question: Question, ratings: Sequence[Rating]) -> dict[str, float]:
    scores = {rating.turn: rating.score for rating in ratings if rating.score is not None}
    metrics = {f"turn_{turn}": float(score) for turn, score in scores.items()}
    if scores:
        average = sum(scores.values()) / len(scores)
        metrics["average"] = average
        if question.category:
            metrics[f"category_{question.category}"] = average
    return metrics
