"""An engine and a scorer that keep every finished batch, so that a kill loses at most one.

Batches are cut from the request list alone, and how they were cut is kept, too: whoever resumes
asks for the very same remaining ones, as re-batching would change rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from evalkit.journal import Journal
from evalkit.records import Checkpoint, Response, from_json
from evalkit.roles import (
    ContinuationScore,
    Engine,
    GenerationRequest,
    LoadedModel,
    Progress,
    Sampling,
    Scorer,
    ScoringRequest,
)

Answers = list[tuple[ContinuationScore, ...]]


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


class JournaledScorer:
    """A `roles.Scorer` over another.

    open_scorer: asked only when something is left to compute, so that no model is held before.
    """

    def __init__(self, open_scorer: Callable[[], Scorer], journal: Journal) -> None:
        self._open_scorer, self._journal = open_scorer, journal

    def score(
        self, requests: Sequence[ScoringRequest], progress: Progress
    ) -> list[tuple[ContinuationScore, ...]]:
        """One score per continuation, in request order."""
        return scored(self, requests, progress)

    def batches(self, requests: Sequence[ScoringRequest]) -> list[list[int]]:
        """As they were cut when these requests were first seen."""
        key = self._journal.key(["batches", requests])
        kept = self._journal.get(key)
        if kept is None:
            kept = self._journal.put(key, self._open_scorer().batches(requests))
        return [list(batch) for batch in kept]

    def stream(
        self, requests: Sequence[ScoringRequest], wanted: Sequence[int]
    ) -> Iterator[tuple[int, Answers]]:
        """Kept answers first, then the others as they come."""
        batches = self.batches(requests)
        keys = {
            number: self._journal.key(["score", [requests[i] for i in batches[number]]])
            for number in wanted
        }
        missing = [number for number in wanted if self._journal.get(keys[number]) is None]
        for number in sorted(set(wanted) - set(missing)):
            yield number, self._kept(keys[number])
        if not missing:
            return
        for number, answers in self._open_scorer().stream(requests, missing):
            self._journal.put(keys[number], answers)
            yield number, self._kept(keys[number])

    def _kept(self, key: str) -> Answers:
        answers = self._journal.get(key) or ()
        return [tuple(ContinuationScore(*item) for item in answer) for answer in answers]


def scored(scorer: Scorer, requests: Sequence[ScoringRequest], progress: Progress) -> Answers:
    """All answers of a scorer, in request order."""
    found: Answers = [()] * len(requests)
    batches = scorer.batches(requests)
    done = len(requests) - sum(map(len, batches))
    for number, answers in scorer.stream(requests, range(len(batches))):
        for index, answer in zip(batches[number], answers, strict=True):
            found[index] = answer
        done += len(answers)
        progress(done, len(requests), "scoring")
    return found
