"""What an MT-Bench run leaves behind: a data folder that FastChat's own tools open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.benchmarks.mt_bench_pairs import Given
from evalkit.benchmarks.provenance import judge_label, signature, write_jsonl
from evalkit.fastchat.answers import answer_row, has_reference, question_row
from evalkit.fastchat.forms import (
    PAIR_FORMS,
    PROMPTS_FILE,
    SINGLE_FORMS,
    game_messages,
    rating_messages,
    read_judge_prompts,
)
from evalkit.fastchat.judgments import match_row, rating_row
from evalkit.metrics.matches import Match
from evalkit.metrics.ratings import Rating
from evalkit.records import Question

REFERENCES = "reference"  # as FastChat would call the model that gave them


class DataFolder:
    """The folder of one run, of certain questions, judged by one judge.

    given: everybody's answers. judge: its identity. prompts: the file that its prompts come from.
    """

    def __init__(
        self,
        folder: Path,
        questions: Sequence[Question],
        given: Given,
        judge: Mapping[str, Any],
        prompts: Path | None,
    ) -> None:
        self._folder, self._judge = folder, judge_label(judge)
        self._signature = signature(judge, "ratings")
        self._prompts = None if prompts is None else read_judge_prompts(str(prompts))
        self._questions = {question.id: question for question in questions}
        self._answers = {
            model: dict(zip(self._questions, answers, strict=True))
            for model, answers in given.items()
        }

    def write_asked(self) -> None:
        """Questions, reference answers, each model's answers, and the judge's prompts."""
        rows = [question_row(question) for question in self._questions.values()]
        write_jsonl(self._folder / "question.jsonl", rows)
        for model, answers in self._answers.items():
            rows = [answer_row(name, model, turns) for name, turns in answers.items()]
            write_jsonl(self._folder / "model_answer" / f"{_file_name(model)}.jsonl", rows)
        references = [
            answer_row(question.id, REFERENCES, [turn.reference or "" for turn in question.turns])
            for question in self._questions.values()
            if has_reference(question)
        ]
        if references:
            write_jsonl(self._folder / "reference_answer" / f"{REFERENCES}.jsonl", references)
        if self._prompts is not None:
            (self._folder / PROMPTS_FILE).write_bytes(self._prompts.file.read_bytes())

    def write_ratings(self, model: str, ratings: Sequence[Rating]) -> None:
        """A model's ratings, with what the judge was shown."""
        prompts = [self._rating_prompt(model, rating) for rating in ratings]
        rows = [
            rating_row(rating, model, self._judge, prompt) | self._signature
            for rating, prompt in zip(ratings, prompts, strict=True)
        ]
        write_jsonl(self._judgments("single"), rows)

    def write_matches(self, matches: Sequence[Match]) -> None:
        """Matches between models, with what the judge was shown."""
        rows = [
            match_row(match, self._judge, self._game_prompts(match)) | self._signature
            for match in matches
        ]
        write_jsonl(self._judgments("pair"), rows)

    def _judgments(self, kind: str) -> Path:
        return self._folder / "model_judgment" / f"{_file_name(self._judge)}_{kind}.jsonl"

    def _rating_prompt(self, model: str, rating: Rating) -> str:
        if self._prompts is None:
            return ""
        forms = self._prompts.forms(SINGLE_FORMS)
        answers = self._answers[model][rating.question_id][: rating.turn]
        return rating_messages(forms, self._questions[rating.question_id], answers)[-1].content

    def _game_prompts(self, match: Match) -> tuple[str, str]:
        if self._prompts is None:
            return "", ""
        forms = self._prompts.forms(PAIR_FORMS)
        question = self._questions[match.question_id]
        first, second = (
            self._answers[model][question.id][: match.turn]
            for model in (match.model_1, match.model_2)
        )
        return (
            game_messages(forms, question, first, second)[-1].content,
            game_messages(forms, question, second, first)[-1].content,
        )


def _file_name(name: str) -> str:
    return name.replace("/", "__")
