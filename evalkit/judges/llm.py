"""A language model asked in chat: AlpacaEval 2 pairs, MT-Bench ratings.

It answers at any OpenAI-compatible address, or is served here (`chat_judge.py`). Prompts are
the published ones, verdicts come from log-probabilities (pairs) and from the rating in the
judgment's text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, field_serializer

from evalkit.chat_client import ChatAnswer, ChatRequest
from evalkit.errors import EvalkitError, JudgeError, Problem
from evalkit.fastchat.forms import prefetch_judge_prompts, read_judge_prompts
from evalkit.judges.annotator import DEFAULT, Annotator, Changes, read_annotator
from evalkit.judges.chat_judge import ChatJudge, ChatOptions, charged
from evalkit.judges.match_prompts import GamePrompts, game_verdict, read_game_prompts
from evalkit.judges.rating_prompts import (
    WHERE_TO_GET,
    RatingPrompts,
    obstacle,
    obstacles,
    rating_verdict,
    read_rating_prompts,
)
from evalkit.records import Message, Prompt, Question
from evalkit.roles import (
    Averaged,
    Cost,
    GameRequest,
    Options,
    PairRequest,
    Prefetched,
    Progress,
    RatingRequest,
    Verdict,
)

Request = TypeVar("Request", PairRequest, RatingRequest)


class LlmOptions(ChatOptions):
    """Who judges, where and how asked, as for every judge in chat; and with which prompts.

    annotator: of pairs: a configuration of alpaca_eval's evaluators_configs, by its name or as a
        folder of one's own; or a prompt `*.txt`, asked as the default is. Its model is not taken.
    rating_prompts: FastChat's judge_prompts.jsonl, or a folder or a Space of the Hub that has it;
        only MT-Bench needs it.
    logprobs: of pairs that an annotator reads from them: `required`; `optional`, where the answer
        `m` or `M` decides if there are none; or `off`, where they are not asked for.
    temperature: default 0 for ratings, the annotator's for pairs (0 without `required`).
    max_tokens: of a rating's judgment. pair_max_tokens: of a pair's answer (annotator's).
    top_logprobs: how many of a pair's first tokens are asked for, default the annotator's.
    """

    annotator: str = DEFAULT
    rating_prompts: Path | None = None
    logprobs: Literal["required", "optional", "off"] = "required"
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int = Field(default=2048, gt=0)
    pair_max_tokens: int | None = Field(default=None, gt=0)
    top_logprobs: int | None = Field(default=None, ge=2, le=20)

    @field_serializer("annotator")
    def _annotator_digest(self, name: str) -> str:
        return _digest(lambda: read_annotator(name), name)

    @field_serializer("rating_prompts")
    def _rating_digest(self, file: Path | None) -> str | None:
        return None if file is None else _digest(lambda: read_rating_prompts(file), str(file))


class LlmJudge(ChatJudge):
    """Compares as AlpacaEval 2 does, rates and compares conversations as MT-Bench does."""

    Options: ClassVar[type[Options]] = LlmOptions
    averaged: Averaged = "probabilities"
    options: LlmOptions

    def identity(self) -> Mapping[str, Any]:
        """Model, host, prompts by digest, and what is sent with them: no key, no address."""
        options = self.options
        found = {
            "name": "llm",
            "version": self.version,
            **self.who(),
            "pairs": self._pairs_identity(),
        }
        if options.rating_prompts is not None:
            prompts = options.model_dump(include={"rating_prompts"})["rating_prompts"]
            found["ratings"] = {"sha256": prompts, **self._rating_body()}
        return found

    def check(self) -> list[Problem]:
        """Prompts that cannot be read, and a server that does not answer, or not for this model."""
        problems = [
            Problem.of(option, error)
            for option, read in (("annotator", self._annotator), ("rating_prompts", self._forms))
            if getattr(self.options, option) is not None
            and (error := _error_of(read)) is not None
            # Whoever only rates needs no alpaca_eval: `check_prompts` asks for it.
            and not (option == "annotator" and Problem.of("", error).prerequisite)
        ]
        if not problems:
            problems = self.budget_problems(*self._bodies())
        return problems + self.place_problems()

    def prefetch(self) -> list[Prefetched]:
        """The judge prompts, where they are on the Hub."""
        where = self.options.rating_prompts
        prompts = [] if where is None else prefetch_judge_prompts(str(where))
        return [*super().prefetch(), *prompts]

    def check_prompts(self, prompts: Sequence[Prompt]) -> list[Problem]:
        """An annotator whose package is not installed."""
        error = _error_of(self._annotator)
        return [] if error is None else [Problem.of("", error)]

    def check_questions(self, questions: Sequence[Question]) -> list[Problem]:
        """Missing judge prompts; turns that cannot be rated, one of them by name."""
        if self.options.rating_prompts is None:
            return [Problem("", "the llm judge has no `rating_prompts` to rate with", WHERE_TO_GET)]
        every = obstacles(questions)
        found = [reason for reason in every if reason]
        if not found:
            return []
        message = f"{len(found)} of {len(every)} turns cannot be rated, first: {found[0]}"
        hint = "the option `reference_answers` of mt_bench names a file of them"
        return [Problem("", message, hint if "reference" in found[0] else "")]

    def check_games(self, questions: Sequence[Question]) -> list[Problem]:
        """As for ratings; and judge prompts that lack the pairwise forms."""
        found = self.check_questions(questions)
        error = None if found else _error_of(self._game_forms)
        return found if error is None else [Problem.of("", error)]

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        """Logits from the log-probabilities of `m` and `M`, kept within -40 and 40."""
        return _in_order(self._compared(requests), len(requests), progress)

    def rate(self, requests: Sequence[RatingRequest], progress: Progress) -> list[Verdict]:
        """Ratings of first and second turns; the judgment is the Verdict's reason."""
        return _in_order(self._rated(requests), len(requests), progress)

    def prompts_file(self) -> Path | None:
        """FastChat's own, wherever it is kept."""
        where = self.options.rating_prompts
        return None if where is None else read_judge_prompts(str(where)).file

    def play(self, requests: Sequence[GameRequest], progress: Progress) -> list[Verdict]:
        """Certain logits, or 0 for a tie; the judgment is the Verdict's reason."""
        return _in_order(self._played(requests), len(requests), progress)

    def stream(
        self, requests: Sequence[PairRequest] | Sequence[RatingRequest] | Sequence[GameRequest]
    ) -> Iterator[tuple[int, Verdict]]:
        """What `compare`, `rate` or `play` return, verdict by verdict."""
        pairs = [request for request in requests if isinstance(request, PairRequest)]
        ratings = [request for request in requests if isinstance(request, RatingRequest)]
        games = [request for request in requests if isinstance(request, GameRequest)]
        if games:
            return self._played(games)
        return self._rated(ratings) if ratings else self._compared(pairs)

    def estimate(
        self, requests: Sequence[PairRequest] | Sequence[RatingRequest] | Sequence[GameRequest]
    ) -> Cost:
        """Ratings and games without a form are not asked, and not counted."""
        pairs = [request for request in requests if isinstance(request, PairRequest)]
        asked = self._asked(pairs) if pairs else []
        for request in requests:
            if isinstance(request, RatingRequest) and not obstacle(
                request.question, len(request.answers)
            ):
                asked.append(ChatRequest(self._forms().filled(request), self._rating_body()))
            elif isinstance(request, GameRequest) and not obstacle(
                request.question, len(request.first)
            ):
                asked.append(ChatRequest(self._game_forms().filled(request), self._rating_body()))
        return self.cost_about(asked)

    def _bodies(self) -> list[dict[str, Any]]:
        """What is sent beside the messages, of all that it can be asked here."""
        pairs = [] if _error_of(self._annotator) else [self._pair_body()]
        return [*pairs, self._rating_body()] if self.options.rating_prompts else pairs

    def _compared(self, requests: Sequence[PairRequest]) -> Iterator[tuple[int, Verdict]]:
        annotator, with_text = self._annotator(), self.options.logprobs != "required"
        for index, answer in self.answers(self._asked(requests)):
            yield index, charged(annotator.verdict(answer, with_text), answer)

    def _rated(self, requests: Sequence[RatingRequest]) -> Iterator[tuple[int, Verdict]]:
        prompts = self._forms()
        turns = [(request.question, len(request.answers)) for request in requests]
        return self._judged(turns, lambda index: prompts.filled(requests[index]), rating_verdict)

    def _played(self, requests: Sequence[GameRequest]) -> Iterator[tuple[int, Verdict]]:
        prompts = self._game_forms()
        turns = [(request.question, len(request.first)) for request in requests]
        return self._judged(turns, lambda index: prompts.filled(requests[index]), game_verdict)

    def _judged(
        self,
        turns: Sequence[tuple[Question, int]],
        filled: Callable[[int], tuple[Message, ...]],
        read: Callable[[ChatAnswer], Verdict],
    ) -> Iterator[tuple[int, Verdict]]:
        """Asks about every turn that has a form, and says of the others why it cannot."""
        reasons = [obstacle(question, turn) for question, turn in turns]
        yield from ((i, Verdict(None, reason)) for i, reason in enumerate(reasons) if reason)
        places = [i for i, reason in enumerate(reasons) if not reason]
        asked = [ChatRequest(filled(i), self._rating_body()) for i in places]
        for index, answer in self.answers(asked):
            yield places[index], charged(read(answer), answer)

    def _asked(self, requests: Sequence[PairRequest]) -> list[ChatRequest]:
        annotator, body = self._annotator(), self._pair_body()
        wanted = annotator.reads_logprobs and self.options.logprobs == "required"
        return [ChatRequest(annotator.filled(request), body, wanted) for request in requests]

    def _annotator(self) -> Annotator:
        return read_annotator(self.options.annotator)

    def _pairs_identity(self) -> dict[str, Any]:
        """The annotator by name and digest, and what is sent; its name alone if it is not here."""
        if _error_of(self._annotator) is not None:
            return {"annotator": Path(self.options.annotator).name}
        return self._annotator().identity(self.options.model, self._changes(), self._pair_body())

    def _forms(self) -> RatingPrompts:
        return read_rating_prompts(self._prompts_place())

    def _game_forms(self) -> GamePrompts:
        return read_game_prompts(self._prompts_place())

    def _prompts_place(self) -> Path:
        if self.options.rating_prompts is None:
            raise JudgeError("the llm judge has no `rating_prompts` to rate with", WHERE_TO_GET)
        return self.options.rating_prompts

    def _pair_body(self) -> dict[str, Any]:
        return self.with_extra(self._annotator().changed_body(self._changes()))

    def _changes(self) -> Changes:
        options = self.options
        return Changes(
            options.logprobs, options.temperature, options.pair_max_tokens, options.top_logprobs
        )

    def _rating_body(self) -> dict[str, Any]:
        body = {"max_tokens": self.options.max_tokens, "temperature": self._temperature(0.0)}
        return self.with_extra(body)

    def _temperature(self, published: float) -> float:
        given = self.options.temperature
        return published if given is None else given


PLUGIN = LlmJudge


def _in_order(
    verdicts: Iterator[tuple[int, Verdict]], count: int, progress: Progress
) -> list[Verdict]:
    found: dict[int, Verdict] = {}
    for index, verdict in verdicts:
        found[index] = verdict
        progress(len(found), count)
    return [found[index] for index in range(count)]


def _error_of(read: Callable[[], Any]) -> EvalkitError | None:
    try:
        read()
    except EvalkitError as error:
        return error
    return None


def _digest(read: Callable[[], Annotator | RatingPrompts], name: str) -> str:
    """The digest of a prompt file; of one that the checks refuse, its name."""
    try:
        return read().sha256
    except EvalkitError:
        return name
