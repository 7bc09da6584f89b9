"""MT-Bench: a judge rates both answers of two-turn conversations, or compares them with others'.

The protocol of FastChat's llm_judge, for any questions and judge; its files are written in
FastChat's own formats.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from evalkit.benchmarks.mt_bench_answers import converse, temperature
from evalkit.benchmarks.mt_bench_files import DataFolder
from evalkit.benchmarks.mt_bench_pairs import (
    Given,
    match_samples,
    meetings,
    opponents_files,
    pairings,
    play,
    read_opponents,
)
from evalkit.benchmarks.mt_bench_single import rate, rating_requests, rating_samples
from evalkit.benchmarks.provenance import common
from evalkit.chat_client.usage import BYTES_PER_TOKEN
from evalkit.errors import EvalkitError, Problem, RecipeError, ScoreError
from evalkit.fastchat.answers import with_references
from evalkit.fastchat.place import SPACE, SpaceData, open_data
from evalkit.loading import file_digest
from evalkit.metrics.matches import Match, match_scores, match_summary, players
from evalkit.metrics.ratings import rating_scores
from evalkit.records import Question, ResultSet, Sample, Score
from evalkit.roles import (
    Benchmark,
    BenchmarkContext,
    EvaluationItem,
    Judge,
    Options,
    PluginRef,
    Prefetched,
    Source,
)

OWN = "mt_bench"  # the source of MT-Bench's own questions
_ALL = frozenset(map(str, range(81, 161)))  # their ids, which translations keep
# sha256 of the JSON list of [id, turns], sorted. Source: lm-sys/FastChat at 589532d,
# fastchat/llm_judge/data/mt_bench/question.jsonl.
_ALL_SHA256 = "a7375dd20679c398562930c50425b17b28d1393f09cc64f1e6936596c9f181ba"
WHERE_TO_GET = (
    "download reference_answer/gpt-4.jsonl of FastChat, which its package leaves out, from https://"
    "github.com/lm-sys/FastChat/tree/main/fastchat/llm_judge/data/mt_bench, and name it there"
)


class MtBenchOptions(Options):
    """What is asked, how long an answer may be, and how answers are graded.

    questions: a source that has multi-turn questions; default MT-Bench's own.
    reference_answers: a file in FastChat's format (reference_answer/gpt-4.jsonl), for questions
        that a judge grades against a reference and that do not bring their own.
    grading: `single` rates every answer, `pairwise` compares it with those of opponents.
    opponents: of pairwise grading: files of answers in FastChat's format, folders of them, or
        models whose answers lie beside MT-Bench's own questions.
    all_pairs: has the opponents compared with each other, too.
    max_new_tokens: where an answer is cut.
    edition: the label of the question set in task names; default the source's name.
    """

    questions: PluginRef = PluginRef(name=OWN)
    reference_answers: Path | None = Field(default=None, exclude=True)  # its digest decides
    grading: Literal["single", "pairwise", "both"] = "single"
    # Source: lm-sys/FastChat, gen_judgment.py (release 0.2.36): its default baseline.
    opponents: tuple[str, ...] = Field(default=("gpt-3.5-turbo",), min_length=1, exclude=True)
    all_pairs: bool = False
    max_new_tokens: int = Field(default=1024, gt=0)
    edition: str | None = None


class MtBench(Benchmark):
    """Mean rating over both turns, per turn and per category; win rates against opponents."""

    label = "MT-Bench"
    needs: ClassVar[frozenset[str]] = frozenset({"engine", "judge"})
    version: ClassVar[int] = 3
    Options: ClassVar[type[Options]] = MtBenchOptions
    options: MtBenchOptions

    def sources(self) -> list[PluginRef]:
        """The question set."""
        return [self.options.questions]

    def data_digests(self) -> Mapping[str, str]:
        """The reference answers', and the opponents'."""
        file = self.options.reference_answers
        there = file is not None and file.is_file()
        digests = {"reference_answers": file_digest(file)} if file is not None and there else {}
        if self._is_pairwise:
            files = self._opponents().items()
            digests |= {f"opponent {model}": file_digest(answers) for model, answers in files}
        return digests

    def prefetch(self) -> list[Prefetched]:
        """The answers of opponents, where they are on the Hub."""
        place = open_data(*self._data())
        if not self._is_pairwise or not isinstance(place, SpaceData):
            return []
        self._opponents()
        names = [name for name in self.options.opponents if not Path(name).exists()]
        return [place.prefetch([f"model_answer/{name}.jsonl" for name in names])] if names else []

    def check(self) -> list[Problem]:
        """Files of reference answers or opponents that are not there."""
        problems = []
        file = self.options.reference_answers
        if file is not None and not file.is_file():
            missing = f"there is no file {file}"
            problems.append(Problem("reference_answers", missing, WHERE_TO_GET, True))
        if self._is_pairwise:
            try:
                self._opponents()
            except EvalkitError as error:
                problems.append(Problem.of("opponents", error))
        return problems

    def check_data(
        self, open_source: Callable[[PluginRef], Source], judge: Judge | None
    ) -> list[Problem]:
        """No questions, ones that the judge cannot grade answers to, or that lack opponents'."""
        try:
            questions = _questions(open_source(self.options.questions))
        except EvalkitError as error:
            return [Problem.of("questions", error)]
        try:
            questions = self._referenced(questions)
        except EvalkitError as error:
            return [Problem.of("reference_answers", error)]
        found = []
        if self._is_pairwise:
            try:
                read_opponents(self._opponents(), questions)
            except EvalkitError as error:
                found.append(Problem.of("opponents", error))
        if judge is not None:
            found += [p._replace(where="questions") for p in self._judge_problems(judge, questions)]
        return found

    def item_metrics(self, open_source: Callable[[PluginRef], Source]) -> set[str]:
        """The ratings' average, also by turn and category, and what matches were worth."""
        found = {"win_rate_adjusted"} if self._is_pairwise else set()
        if self.options.grading == "pairwise":
            return found
        questions = _questions(open_source(self.options.questions))
        turns = max(len(question.turns) for question in questions)
        found |= {"average", *(f"turn_{turn}" for turn in range(1, turns + 1))}
        return found | {f"category_{one.category}" for one in questions if one.category}

    def items(self, open_source: Callable[[PluginRef], Source]) -> list[EvaluationItem] | None:
        """Every question, with all its turns: a second one alone may be a few common words."""
        questions = _questions(open_source(self.options.questions))
        task = self._task(questions)
        return [
            EvaluationItem(one.id, task, ("\n\n".join(turn.content for turn in one.turns),))
            for one in questions
        ]

    def judgements(self, open_source: Callable[[PluginRef], Source]) -> list[Any]:
        """Every turn, opponents' answers in place of the model's, or ones as long as may be."""
        questions = self._referenced(_questions(open_source(self.options.questions)))
        asked: list[Any] = []
        if self.options.grading != "pairwise":
            longest = "x" * round(self.options.max_new_tokens * BYTES_PER_TOKEN)
            asked += rating_requests(questions, [(longest,) * len(q.turns) for q in questions])
        if self._is_pairwise:
            others = read_opponents(self._opponents(), questions)
            given = {"": next(iter(others.values())), **others}
            pairs = pairings("", list(others), every=self.options.all_pairs)
            asked += [game for one in meetings(questions, given, pairs) for game in one.games()]
        return asked

    def run(self, context: BenchmarkContext) -> ResultSet:
        """Holds every conversation, then has every answer judged with what came before it."""
        source = context.open_source(self.options.questions)
        questions = self._referenced(_questions(source))
        data = dict(source.description())
        name, task = context.checkpoint.name, self._task(questions)
        others = self._others(name, questions)
        engine, judge = context.open_engine(), context.open_judge()
        conversations = converse(engine, questions, self.options.max_new_tokens, context)
        answers = [tuple(response.text for response in turns) for turns in conversations]
        given: Given = {name: answers, **others}
        identity = dict(judge.identity())
        folder = DataFolder(context.folder, questions, given, identity, judge.prompts_file())
        folder.write_asked()
        scores: list[Score] = []
        samples: list[Sample] = []
        if self.options.grading != "pairwise":
            ratings = rate(judge, questions, answers, context.progress)
            folder.write_ratings(name, ratings)
            scores += rating_scores(task, ratings, self._settings(questions))
            samples += rating_samples(task, questions, conversations, ratings)
        matches: list[Match] = []
        if self._is_pairwise:
            pairs = pairings(name, list(others), every=self.options.all_pairs)
            matches = play(judge, questions, given, pairs, context.progress)
            folder.write_matches(matches)
            scores += self._match_scores(task, questions, matches, name)
            samples += match_samples(f"{task}_pairwise", questions, matches, name)
        return ResultSet(
            benchmark="mt_bench",
            checkpoint=name,
            checkpoint_digest=context.checkpoint.digest,
            scores=tuple(scores),
            provenance={
                **common(context),
                "protocol": self._protocol(),
                "few_shot": 0,
                "data": data,
                "judge": identity,
                "engine": dict(engine.identity()),
                "intervals": "95 %: Student over questions, all judgements of one taken together",
                **self._standings(matches),
            },
            samples=tuple(samples),
        )

    @property
    def _is_pairwise(self) -> bool:
        return self.options.grading != "single"

    def _referenced(self, questions: list[Question]) -> list[Question]:
        file = self.options.reference_answers
        return questions if file is None else with_references(questions, file)

    def _opponents(self) -> dict[str, Path]:
        return opponents_files(self.options.opponents, *self._data())

    def _data(self) -> tuple[str, str]:
        """Where MT-Bench's own questions come from, and at which revision."""
        source = self.options.questions
        given = source.options if source.key == OWN else {}
        return str(given.get("data", SPACE)), str(given.get("revision", "main"))

    def _others(self, name: str, questions: Sequence[Question]) -> Given:
        if not self._is_pairwise:
            return {}
        files = self._opponents()
        if name in files:
            raise RecipeError(
                f"an opponent is called {name}, as the measured model is: {files[name]}",
                "a file of answers is named after its model: give it another name",
            )
        return read_opponents(files, questions)

    def _judge_problems(self, judge: Judge, questions: Sequence[Question]) -> list[Problem]:
        rating = [] if self.options.grading == "pairwise" else judge.check_questions(questions)
        games = judge.check_games(questions) if self._is_pairwise else []
        return rating + [problem for problem in games if problem not in rating]

    def _task(self, questions: Sequence[Question]) -> str:
        """MT-Bench's own name only where all of its questions are asked, and no others."""
        edition = self.options.edition or self.options.questions.key
        if edition != OWN:
            return f"mt_bench_{edition}"
        if {question.id for question in questions} != _ALL:
            return "mt_bench_part"
        from_space = self.options.questions.key == OWN and self._data()[0] == SPACE
        return "mt_bench" if from_space or _is_own(questions) else "mt_bench_other"

    def _settings(self, questions: Sequence[Question]) -> dict[str, Any]:
        return {
            "max_new_tokens": self.options.max_new_tokens,
            "temperatures": {
                category: temperature(category)
                for category in sorted({question.category for question in questions})
            },
        }

    def _match_scores(
        self, task: str, questions: Sequence[Question], matches: Sequence[Match], name: str
    ) -> list[Score]:
        """Over all opponents, and against each where there are several."""
        opponents = list(self._opponents())
        settings = {**self._settings(questions), "opponents": opponents}
        scores = match_scores(f"{task}_pairwise", matches, name, settings)
        if len(opponents) > 1:
            for opponent in opponents:
                own = [m for m in matches if {m.model_1, m.model_2} == {name, opponent}]
                each = {**settings, "opponents": [opponent]}
                scores += match_scores(f"{task}_pairwise_{opponent}", own, name, each)
        if not scores:
            raise ScoreError(f"no match of {name} was decided", "look at the judge")
        return scores

    def _protocol(self) -> str:
        graded = {
            "single": "single-answer grading",
            "pairwise": "pairwise grading in both orders",
            "both": "single-answer grading, and pairwise grading in both orders",
        }
        return f"MT-Bench {graded[self.options.grading]}"

    def _standings(self, matches: Sequence[Match]) -> dict[str, Any]:
        """Everybody's win rates, where everybody met everybody."""
        if not self.options.all_pairs or not matches:
            return {}
        found = {model: match_summary(matches, model) for model in players(matches)}
        return {
            "all_pairs": {
                model: {
                    "win_rate_adjusted": summary.win_rate_adjusted.value,
                    "wins": summary.wins,
                    "losses": summary.losses,
                    "ties": summary.ties,
                    "missing": summary.missing,
                }
                for model, summary in found.items()
                if summary is not None
            }
        }


PLUGIN = MtBench


def _is_own(questions: Sequence[Question]) -> bool:
    """Whether these are MT-Bench's, word for word."""
    texts = sorted([one.id, [turn.content for turn in one.turns]] for one in questions)
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest() == _ALL_SHA256


def _questions(source: Source) -> list[Question]:
    questions = source.questions()
    if not questions:
        raise ScoreError("there are no questions to ask")
    return questions
