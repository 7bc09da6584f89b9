"""Engine, judge and scorer that keep every finished batch in the step's journal.

Batches are cut from the request list alone, so a resumed step asks for the very
same remaining batches: re-batching would change rounding, and hence samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from evalkit.journal import Journal
from evalkit.records import Response, from_json
from evalkit.roles import (
    ContinuationScore,
    Engine,
    GenerationRequest,
    Judge,
    PairRequest,
    Progress,
    RatingRequest,
    Sampling,
    Scorer,
    ScoringRequest,
    Verdict,
)

JUDGEMENTS_PER_BATCH = 256
SCORINGS_PER_BATCH = 512
Request = TypeVar("Request")


class JournaledEngine(Engine):
    """An engine whose responses survive a kill, batch by batch."""

    def __init__(self, engine: Engine, journal: Journal) -> None:
        super().__init__(engine.options)
        self._engine, self._journal = engine, journal

    @property
    def tokenizer(self) -> Any:
        return self._engine.tokenizer

    def identity(self) -> Mapping[str, Any]:
        return self._engine.identity()

    def batches(self, requests: Sequence[GenerationRequest]) -> list[list[int]]:
        return self._engine.batches(requests)

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling, progress: Progress
    ) -> list[tuple[Response, ...]]:
        def work(batch: Sequence[GenerationRequest], progress: Progress) -> Any:
            return self._engine.generate(batch, sampling, progress)

        answers = _in_batches(
            requests, self._engine.batches(requests), ["generate", sampling], work,
            self._journal, progress,
        )  # fmt: skip
        return [tuple(from_json(Response, item) for item in answer) for answer in answers]

    def close(self) -> None:
        self._engine.close()


class JournaledJudge(Judge):
    """A judge who is never paid twice for the same judgement."""

    def __init__(self, judge: Judge, journal: Journal) -> None:
        super().__init__(judge.options)
        self._judge, self._journal = judge, journal

    def identity(self) -> Mapping[str, Any]:
        return self._judge.identity()

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        return self._ask("compare", requests, self._judge.compare, progress)

    def rate(self, requests: Sequence[RatingRequest], progress: Progress) -> list[Verdict]:
        return self._ask("rate", requests, self._judge.rate, progress)

    def close(self) -> None:
        self._judge.close()

    def _ask(
        self, kind: str, requests: Sequence[Any], work: Callable[..., Any], progress: Progress
    ) -> list[Verdict]:
        question = [kind, self.identity()]
        if self._judge.stream([]) is not None:
            answers = self._one_by_one(question, requests, progress)
        else:
            batches = _consecutive(len(requests), JUDGEMENTS_PER_BATCH)
            answers = _in_batches(requests, batches, question, work, self._journal, progress)
        return [Verdict(*answer) for answer in answers]

    def _one_by_one(
        self, question: list[Any], requests: Sequence[Any], progress: Progress
    ) -> list[Any]:
        """Each answer is kept as it comes, under its own key; equal requests are asked once."""
        keys = [self._journal.key([*question, request]) for request in requests]
        places = {key: index for index, key in enumerate(keys)}
        asked = [i for key, i in places.items() if self._journal.get(key) is None]
        done = len(places) - len(asked)
        for index, verdict in self._judge.stream([requests[i] for i in asked]) or ():
            self._journal.put(keys[asked[index]], verdict)
            done += 1
            progress(done, len(places))
        return [self._journal.get(key) for key in keys]


class JournaledScorer:
    """A scorer whose log-probabilities survive a kill, batch by batch."""

    def __init__(self, scorer: Scorer, journal: Journal) -> None:
        self._scorer, self._journal = scorer, journal

    def score(
        self, requests: Sequence[ScoringRequest], progress: Progress
    ) -> list[tuple[ContinuationScore, ...]]:
        batches = _consecutive(len(requests), SCORINGS_PER_BATCH)
        answers = _in_batches(
            requests, batches, ["score"], self._scorer.score, self._journal, progress
        )
        return [tuple(ContinuationScore(*item) for item in answer) for answer in answers]


def _consecutive(count: int, size: int) -> list[list[int]]:
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


def _in_batches(
    requests: Sequence[Request],
    batches: Sequence[Sequence[int]],
    question: list[Any],
    work: Callable[[Sequence[Request], Progress], Any],
    journal: Journal,
    progress: Progress,
) -> list[Any]:
    answers: list[Any] = [None] * len(requests)
    done = 0
    for batch in batches:
        chosen = [requests[index] for index in batch]
        key = journal.key([*question, chosen])
        answer = journal.get(key)
        if answer is None:
            answer = journal.put(key, work(chosen, _quiet))
        for index, item in zip(batch, answer, strict=True):
            answers[index] = item
        done += len(batch)
        progress(done, len(requests))
    return answers


def _quiet(done: int, total: int, note: str = "") -> None:
    """The batch is the unit that is reported."""
