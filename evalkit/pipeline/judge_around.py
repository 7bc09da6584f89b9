"""A judge around another: all that it does not do otherwise, the other does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.roles import (
    Cost,
    GameRequest,
    Judge,
    PairRequest,
    Progress,
    RatingRequest,
    Verdict,
)


class JudgeAround(Judge):
    """Passes everything on to `judge`, and what comes back."""

    def __init__(self, judge: Judge) -> None:
        super().__init__(judge.options)
        self.averaged = judge.averaged
        self.judge = judge

    def identity(self) -> Mapping[str, Any]:
        return self.judge.identity()

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        return self.judge.compare(requests, progress)

    def rate(self, requests: Sequence[RatingRequest], progress: Progress) -> list[Verdict]:
        return self.judge.rate(requests, progress)

    def play(self, requests: Sequence[GameRequest], progress: Progress) -> list[Verdict]:
        return self.judge.play(requests, progress)

    def stream(
        self, requests: Sequence[PairRequest] | Sequence[RatingRequest] | Sequence[GameRequest]
    ) -> Iterator[tuple[int, Verdict]] | None:
        return self.judge.stream(requests)

    def keep_accounts(self, file: Path) -> None:
        self.judge.keep_accounts(file)

    def payee(self) -> str:
        return self.judge.payee()

    def estimate(
        self, requests: Sequence[PairRequest] | Sequence[RatingRequest] | Sequence[GameRequest]
    ) -> Cost | None:
        return self.judge.estimate(requests)

    def cost_of(self, verdicts: Sequence[Verdict]) -> Cost | None:
        return self.judge.cost_of(verdicts)

    def weights_folder(self) -> Path | None:
        return self.judge.weights_folder()

    def close(self) -> None:
        self.judge.close()
