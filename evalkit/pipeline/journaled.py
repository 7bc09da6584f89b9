"""A judge that keeps every finished batch in the step's journal.

Batches are cut from the request list alone, so a resumed step asks for the very
same remaining batches: re-batching would change rounding, and hence samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from evalkit.journal import Journal
from evalkit.roles import (
    Cost,
    GameRequest,
    Judge,
    PairRequest,
    Progress,
    RatingRequest,
    Verdict,
)

JUDGEMENTS_PER_BATCH = 256
Request = TypeVar("Request")


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

    def prompts_file(self) -> Path | None:
        return self._judge.prompts_file()

    def play(self, requests: Sequence[GameRequest], progress: Progress) -> list[Verdict]:
        return self._ask("play", requests, self._judge.play, progress)

    def weights_folder(self) -> Path | None:
        return self._judge.weights_folder()

    def cost_of(self, verdicts: Sequence[Verdict]) -> Cost | None:
        return self._judge.cost_of(verdicts)

    def close(self) -> None:
        self._judge.close()

    def due(self, requests: Sequence[PairRequest]) -> list[PairRequest]:
        """Pairs whose verdict is not kept yet, equal ones once; of judges that answer one by one.

        Others are asked batch by batch: all that is not kept whole is due.
        """
        if self._judge.stream([]) is None:
            return list(requests)
        question = ["compare", self.identity()]
        keys = {self._journal.key([*question, request]): request for request in requests}
        return [request for key, request in keys.items() if self._journal.get(key) is None]

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
