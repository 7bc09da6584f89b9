"""Pairwise grading: a judge says which of two models answered better, each shown first once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import RecipeError, ScoreError
from evalkit.fastchat.answers import Answers, read_answers
from evalkit.fastchat.place import open_data
from evalkit.metrics.matches import Match, Winner, worth_of
from evalkit.records import Question, Sample
from evalkit.roles import GameRequest, Judge, Progress, Verdict

Given = Mapping[str, Sequence[tuple[str, ...]]]  # a model's answers, question by question
_HINT = "FastChat's model_answer/MODEL.jsonl, a folder of such files, or a MODEL of the data"


def opponents_files(names: Sequence[str], data: str, revision: str) -> dict[str, Path]:
    """The file of each opponent's answers, by the model.

    names: files, folders of them, or models whose answers `data` (a folder or a Space) holds.

    Raises:
        RecipeError: there is no such file, or two are called the same.
        PrerequisiteError: it is on the Hub, which cannot be reached.
    """
    found: dict[str, Path] = {}
    for file in (file for name in names for file in _files(name, data, revision)):
        model = file.name.removesuffix(".gz").removesuffix(".jsonl")
        if found.setdefault(model, file) != file:
            raise RecipeError(f"two opponents are called {model}: {found[model]} and {file}")
    return found


def _files(name: str, data: str, revision: str) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")])
        if not files:
            raise RecipeError(f"the folder {name} holds no answers", f"give {_HINT}")
        return files
    place = open_data(data, revision)
    file = place.find(f"model_answer/{name}.jsonl") if place is not None else None
    if file is None:
        raise RecipeError(f"there are no answers of an opponent {name}", f"give {_HINT}")
    return [file]


def read_opponents(files: Mapping[str, Path], questions: Sequence[Question]) -> Given:
    """Each opponent's answers to every question.

    Raises:
        RecipeError: a file is damaged, or lacks an answer.
    """
    answers = {model: read_answers(file) for model, file in files.items()}
    return {
        model: [_answered(answers[model], question, file) for question in questions]
        for model, file in files.items()
    }


def _answered(answers: Answers, question: Question, file: Path) -> tuple[str, ...]:
    turns = answers.turns.get(question.id, ())
    if len(turns) != len(question.turns):
        said = "no answer" if not turns else f"{len(turns)} answers"
        raise RecipeError(
            f"{file} has {said} to question {question.id}, which has {len(question.turns)} turns",
            "an opponent must answer every turn of every question",
        )
    return turns


class Meeting(NamedTuple):
    """A turn of a question on which two models meet, with their answers up to it."""

    question: Question
    turn: int
    models: tuple[str, str]
    answers: tuple[tuple[str, ...], tuple[str, ...]]

    def games(self) -> tuple[GameRequest, GameRequest]:
        """With each of them shown first."""
        first, second = self.answers
        return (
            GameRequest(self.question, first, second),
            GameRequest(self.question, second, first),
        )


def meetings(
    questions: Sequence[Question], given: Given, pairs: Sequence[tuple[str, str]]
) -> list[Meeting]:
    """Every turn of every question, for each pair of models."""
    return [
        Meeting(question, turn, (one, other), (first[:turn], second[:turn]))
        for one, other in pairs
        for question, first, second in zip(questions, given[one], given[other], strict=True)
        for turn in range(1, len(question.turns) + 1)
    ]


def play(
    judge: Judge,
    questions: Sequence[Question],
    given: Given,
    pairs: Sequence[tuple[str, str]],
    progress: Progress,
) -> list[Match]:
    """Every match of every pair of models: two games for each turn of each question.

    Raises:
        ScoreError: the judge decided none.
    """
    held = meetings(questions, given, pairs)
    verdicts = iter(judge.play([game for one in held for game in one.games()], progress))
    matches = [_match(meeting, next(verdicts), next(verdicts)) for meeting in held]
    if all(match.outcome is None for match in matches):
        reason = next((text for match in matches for text in match.judgments if text), "no reason")
        raise ScoreError(
            f"the judge decided no match of {len(matches)}: {reason}", "look at the judge"
        )
    return matches


def pairings(model: str, opponents: Sequence[str], *, every: bool) -> list[tuple[str, str]]:
    """Who meets whom: the model each opponent, or everybody everybody."""
    names = [model, *opponents]
    return list(combinations(names, 2)) if every else [(model, other) for other in opponents]


def _match(meeting: Meeting, first: Verdict, second: Verdict) -> Match:
    return Match(
        meeting.question.id,
        meeting.question.category,
        meeting.turn,
        *meeting.models,
        _winner(first, "model_1", "model_2"),
        _winner(second, "model_2", "model_1"),
        (first.reason, second.reason),
        (first.by, second.by),
    )


def _winner(verdict: Verdict, shown_first: Winner, shown_second: Winner) -> Winner | None:
    if verdict.value is None:
        return None
    if verdict.value == 0:
        return "tie"
    return shown_first if verdict.value > 0 else shown_second


def match_samples(
    task: str, questions: Sequence[Question], matches: Sequence[Match], model: str
) -> Iterator[Sample]:
    """One per question: what the model's matches about it were worth, and how each went."""
    by_question: dict[str, list[Match]] = defaultdict(list)
    for match in matches:
        by_question[match.question_id].append(match)
    for question in questions:
        own = [m for m in by_question[question.id] if model in (m.model_1, m.model_2)]
        worth = [value for match in own if (value := worth_of(match, model)) is not None]
        metrics = {"win_rate_adjusted": sum(worth) / len(worth)} if worth else {}
        games = [
            {
                "turn": match.turn,
                "models": [match.model_1, match.model_2],
                "winners": [match.first_game, match.second_game],
                "judgments": list(match.judgments),
            }
            for match in own
        ]
        yield Sample(question.id, task, metrics, {"matches": games})
