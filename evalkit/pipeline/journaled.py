"""Engine, judge and scorer that keep every finished batch in the step's journal.

Batches are cut from the request list alone, so a resumed step asks for the very
same remaining batches: re-batching would change rounding, and hence samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from evalkit.journal import Journal
from evalkit.records import Checkpoint, Response, from_json
from evalkit.roles import (
    ContinuationScore,
    Engine,
    GenerationRequest,
    Judge,
    LoadedModel,
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
    """An engine whose responses survive a kill, batch by batch.

    prepare: called before it computes anything.
    """

    def __init__(
        self, engine: Engine, journal: Journal, prepare: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(engine.options)
        self._engine, self._journal, self._prepare = engine, journal, prepare

    def serve(self, checkpoint: Checkpoint, open_model: Callable[[], LoadedModel]) -> Engine:
        self._engine.serve(checkpoint, open_model)
        return self

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
        batches = self._engine.batches(requests)
        chosen = [[requests[index] for index in batch] for batch in batches]
        keys = [self._journal.key(["generate", sampling, batch]) for batch in chosen]
        missing = [number for number, key in enumerate(keys) if self._journal.get(key) is None]
        done = len(requests) - sum(len(batches[number]) for number in missing)
        if missing:
            self._prepare()
        for place, made in self._engine.stream([chosen[number] for number in missing], sampling):
            self._journal.put(keys[missing[place]], made)
            done += len(made)
            progress(done, len(requests))
        answers: list[tuple[Response, ...]] = [()] * len(requests)
        for batch, key in zip(batches, keys, strict=True):
            for index, answer in zip(batch, self._journal.get(key) or (), strict=True):
                answers[index] = tuple(from_json(Response, item) for item in answer)
        return answers

    def rest(self) -> None:
        self._engine.rest()

    def close(self) -> None:
        self._engine.close()


class JournaledJudge(Judge):
    """A judge who is never paid twice for the same judgement.

    prepare: called before it judges anything.
    """

    def __init__(
        self, judge: Judge, journal: Journal, prepare: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(judge.options)
        self.averaged = judge.averaged
        self._judge, self._journal, self._prepare = judge, journal, prepare

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

            def prepared(batch: Sequence[Any], progress: Progress) -> Any:
                self._prepare()
                return work(batch, progress)

            batches = _judgements(requests)
            answers = _in_batches(requests, batches, question, prepared, self._journal, progress)
        return [Verdict(*answer) for answer in answers]

    def _one_by_one(
        self, question: list[Any], requests: Sequence[Any], progress: Progress
    ) -> list[Any]:
        """Each answer is kept as it comes, under its own key; equal requests are asked once."""
        keys = [self._journal.key([*question, request]) for request in requests]
        places = {key: index for index, key in enumerate(keys)}
        asked = [i for key, i in places.items() if self._journal.get(key) is None]
        done = len(places) - len(asked)
        if asked:
            self._prepare()
        for index, verdict in self._judge.stream([requests[i] for i in asked]) or ():
            self._journal.put(keys[asked[index]], verdict)
            done += 1
            progress(done, len(places))
        return [self._journal.get(key) for key in keys]


class JournaledScorer:
    """A scorer whose log-probabilities survive a kill, batch by batch.

    open_scorer: asked for every batch, so that no model is held in between.
    """

    def __init__(self, open_scorer: Callable[[], Scorer], journal: Journal) -> None:
        self._open_scorer, self._journal = open_scorer, journal

    def score(
        self, requests: Sequence[ScoringRequest], progress: Progress
    ) -> list[tuple[ContinuationScore, ...]]:
        def work(batch: Sequence[ScoringRequest], progress: Progress) -> Any:
            return self._open_scorer().score(batch, progress)

        batches = _consecutive(len(requests), SCORINGS_PER_BATCH)
        answers = _in_batches(requests, batches, ["score"], work, self._journal, progress)
        return [tuple(ContinuationScore(*item) for item in answer) for answer in answers]


def _judgements(requests: Sequence[PairRequest] | Sequence[RatingRequest]) -> list[list[int]]:
    """Batches of judgements, each prompt's pairs in one: what is read of a pair is read once."""
    batches: list[list[int]] = []
    for index, request in enumerate(requests):
        before = requests[index - 1] if index else None
        together = (
            isinstance(request, PairRequest)
            and isinstance(before, PairRequest)
            and request.prompt == before.prompt
        )
        if not batches or (len(batches[-1]) >= JUDGEMENTS_PER_BATCH and not together):
            batches.append([])
        batches[-1].append(index)
    return batches


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
