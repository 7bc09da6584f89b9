"""MT-Bench: a judge rates both answers of two-turn conversations from 1 to 10.

The protocol of FastChat's llm_judge in single-answer mode, for any questions and
judge; its files are written in FastChat's own format.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from evalkit.benchmarks.mt_bench_ratings import write_files
from evalkit.benchmarks.mt_bench_references import with_references
from evalkit.benchmarks.provenance import common, judge_label
from evalkit.errors import EvalkitError, Problem, ScoreError
from evalkit.fingerprint import derive_seed
from evalkit.loading import file_digest
from evalkit.metrics.ratings import Rating, rating_scores
from evalkit.records import Message, Question, Response, ResultSet, Sample, Score
from evalkit.rendering import prompt_token_ids
from evalkit.roles import (
    Benchmark,
    BenchmarkContext,
    Engine,
    GenerationRequest,
    Judge,
    Options,
    PluginRef,
    RatingRequest,
    Sampling,
    Source,
)

WHERE_TO_GET = (
    "download reference_answer/gpt-4.jsonl of FastChat, which its package leaves out, from https://"
    "github.com/lm-sys/FastChat/tree/main/fastchat/llm_judge/data/mt_bench, and name it there"
)
# Source: lm-sys/FastChat, fastchat/llm_judge/common.py (release 0.2.36).
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}


class MtBenchOptions(Options):
    """What is asked, and how long an answer may be.

    questions: a source that has multi-turn questions.
    reference_answers: a file in FastChat's format (reference_answer/gpt-4.jsonl), for questions
        that a judge rates against a reference and that do not bring their own.
    max_new_tokens: where an answer is cut.
    edition: the label of the question set in task names; default the source's name.
    """

    questions: PluginRef
    reference_answers: Path | None = Field(default=None, exclude=True)  # its digest decides
    max_new_tokens: int = Field(default=1024, gt=0)
    edition: str | None = None


class MtBench(Benchmark):
    """Mean rating over both turns, per turn and per category."""

    label = "MT-Bench"
    needs: ClassVar[frozenset[str]] = frozenset({"engine", "judge"})
    version: ClassVar[int] = 2
    Options = MtBenchOptions

    def sources(self) -> list[PluginRef]:
        """The question set."""
        return [self.options.questions]

    def data_digests(self) -> Mapping[str, str]:
        """The reference answers'."""
        file = self.options.reference_answers
        there = file is not None and file.is_file()
        return {"reference_answers": file_digest(file)} if there else {}

    def check(self) -> list[Problem]:
        """A file of reference answers that is not there."""
        file = self.options.reference_answers
        if file is None or file.is_file():
            return []
        return [Problem("reference_answers", f"there is no file {file}", WHERE_TO_GET, True)]

    def check_data(
        self, open_source: Callable[[PluginRef], Source], judge: Judge | None
    ) -> list[Problem]:
        """A source without questions, and questions that the judge cannot rate answers to."""
        try:
            questions = _questions(open_source(self.options.questions))
        except EvalkitError as error:
            return [Problem.of("questions", error)]
        try:
            questions = self._referenced(questions)
        except EvalkitError as error:
            return [Problem.of("reference_answers", error)]
        found = judge.check_questions(questions) if judge else []
        return [problem._replace(where="questions") for problem in found]

    def run(self, context: BenchmarkContext) -> ResultSet:
        """Holds every conversation, then has every answer rated with what came before it."""
        source = context.open_source(self.options.questions)
        questions = self._referenced(_questions(source))
        description = dict(source.description())
        engine, judge = context.open_engine(), context.open_judge()
        conversations = converse(engine, questions, self.options.max_new_tokens, context)
        answers = [tuple(response.text for response in turns) for turns in conversations]
        ratings = rate(judge, questions, answers, context)
        if all(rating.score is None for rating in ratings):
            reason = next((r.judgment for r in ratings if r.judgment), "no reason given")
            raise ScoreError(f"the judge rated no answer: {reason}", "look at the judge")
        identities = {"judge": dict(judge.identity()), "engine": dict(engine.identity())}
        write_files(
            context.folder,
            context.checkpoint.name,
            judge_label(identities["judge"]),
            questions,
            answers,
            ratings,
        )
        edition = self.options.edition or self.options.questions.key
        task = f"mt_bench_{edition}"
        return ResultSet(
            benchmark="mt_bench",
            checkpoint=context.checkpoint.name,
            checkpoint_digest=context.checkpoint.digest,
            scores=tuple(self._scores(task, questions, ratings)),
            provenance={
                **common(context),
                "protocol": "MT-Bench single-answer grading",
                "data": description,
                **identities,
                "intervals": "95 %: Student over questions, both turns of one taken together",
            },
            samples=tuple(_samples(task, questions, conversations, ratings)),
        )

    def _referenced(self, questions: list[Question]) -> list[Question]:
        file = self.options.reference_answers
        return questions if file is None else with_references(questions, file)

    def _scores(
        self, task: str, questions: Sequence[Question], ratings: Sequence[Rating]
    ) -> list[Score]:
        settings = {
            "max_new_tokens": self.options.max_new_tokens,
            "temperatures": {
                category: temperature(category)
                for category in sorted({question.category for question in questions})
            },
        }
        return rating_scores(task, ratings, settings)


PLUGIN = MtBench


def _questions(source: Source) -> list[Question]:
    questions = source.questions()
    if not questions:
        raise ScoreError("there are no questions to ask")
    return questions


def temperature(category: str) -> float:
    """The published sampling temperature of a category; greedy for those MT-Bench does not have."""
    return TEMPERATURES.get(category, 0.0)


def converse(
    engine: Engine,
    questions: Sequence[Question],
    max_new_tokens: int,
    context: BenchmarkContext,
) -> list[list[Response]]:
    """The model's answers to every turn, all questions of one temperature at a time."""
    held: list[list[Response]] = [[] for _ in questions]
    groups: dict[float, list[int]] = defaultdict(list)
    for index, question in enumerate(questions):
        groups[temperature(question.category)].append(index)
    for turn in range(max(len(question.turns) for question in questions)):
        for degrees, members in groups.items():
            indices = [i for i in members if turn < len(questions[i].turns)]
            requests = [
                GenerationRequest(
                    prompt_token_ids(context.tokenizer, _messages(questions[i], held[i])),
                    seed=derive_seed(context.seed, "mt_bench", questions[i].id, turn),
                )
                for i in indices
            ]
            sampling = Sampling(degrees, 1.0, max_new_tokens)
            answers = engine.generate(requests, sampling, context.progress) if requests else []
            for i, answer in zip(indices, answers, strict=True):
                held[i].append(answer[0])
    return held


def rate(
    judge: Judge,
    questions: Sequence[Question],
    answers: Sequence[tuple[str, ...]],
    context: BenchmarkContext,
) -> list[Rating]:
    """One rating of every answer, the judge seeing the conversation up to it."""
    asked = [
        (question, turn, RatingRequest(question, given[:turn]))
        for question, given in zip(questions, answers, strict=True)
        for turn in range(1, len(given) + 1)
    ]
    verdicts = judge.rate([item[2] for item in asked], context.progress)
    return [
        Rating(question.id, question.category, turn, verdict.value, verdict.reason)
        for (question, turn, _), verdict in zip(asked, verdicts, strict=True)
    ]


def _messages(question: Question, answers: Sequence[Response]) -> list[Message]:
    messages = []
    for turn, answer in zip(question.turns, answers, strict=False):
        messages += [Message("user", turn.content), Message("assistant", answer.text)]
    return [*messages, Message("user", question.turns[len(answers)].content)]


def _samples(
    task: str,
    questions: Sequence[Question],
    conversations: Sequence[Sequence[Response]],
    ratings: Sequence[Rating],
) -> list[Sample]:
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
