"""The role that compares and rates responses, and what it is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from evalkit.errors import JudgeError, Problem
from evalkit.records import Checkpoint, Prompt, Question
from evalkit.roles.generation import ChatPlace
from evalkit.roles.plugin import Plugin, PluginRef, Progress


class PairRequest(NamedTuple):
    """Which of two responses is better? `first` is shown first."""

    prompt: Prompt
    first: str
    second: str


class RatingRequest(NamedTuple):
    """How good is the last of `answers`, given to turn number len(answers) of `question`?"""

    question: Question
    answers: tuple[str, ...]


class GameRequest(NamedTuple):
    """Which of two models answers turn number len(first) of `question` better?

    `first` and `second` are their answers to all turns so far, as many of each; `first` is shown
    first.
    """

    question: Question
    first: tuple[str, ...]
    second: tuple[str, ...]


class Verdict(NamedTuple):
    """A judge's answer. `value` is None when there is none, and `reason` says why.

    value: of a pair or a game, the logit that `first` beats `second`, of a tie 0; of a rating, 1
        to 10.
    cut: whether the judge saw less than it was given, as prompt or responses were too long for it.
    by: the model that answered by its server's own account, where it gave one (a dated snapshot).
    tokens_in, tokens_out: what its server counted for the answer; 0 where nothing is counted.
    said: what a pair's verdict was read from, JSON values: a text, or log-probabilities by token.
    """

    value: float | None
    reason: str = ""
    cut: bool = False
    by: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    said: Any = None


class Cost(NamedTuple):
    """What judging takes. usd: US dollars, None where no price is known. price: who says it."""

    requests: int
    tokens_in: int
    tokens_out: int
    usd: float | None
    price: str = ""


Averaged = Literal["logits", "probabilities"]


class Judge(Plugin, ABC):
    """Compares or rates responses. Failed judgements are Verdicts without a value.

    own_memory: whether it holds a model on this machine; where there is one GPU, others then
        rest while it judges.
    averaged: what of a pair's two orders is averaged to take its order bias out. Log-odds that may
        be certain, as those of a language model's answers, outweigh any doubt of the other order:
        of them, it is probabilities.
    """

    own_memory: ClassVar[bool] = False
    averaged: Averaged = "logits"

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything that pins the judge: name, model and revision, prompt digest, temperature."""

    def engine(self) -> PluginRef | None:
        """The engine that is to serve the judge's model to it; None: it needs no server of ours."""
        return None

    def model_to_serve(self) -> Checkpoint:
        """What that engine is to serve; fetched from the Hub where it must be."""
        raise JudgeError(f"{type(self).__name__} has no model to serve")

    def ask_at(self, place: ChatPlace) -> None:
        """Tells a judge where its model is served; before it is asked anything."""

    def keep_accounts(self, file: Path) -> None:
        """Has what its answers cost written down in a file that a whole run shares.

        For judges with a price or a budget; others need none.
        """

    def payee(self) -> str:
        """Whose answers are paid for, as accounts name it; empty where nobody's are."""
        return ""

    def estimate(
        self, requests: Sequence[PairRequest] | Sequence[RatingRequest] | Sequence[GameRequest]
    ) -> Cost | None:
        """What asking these would cost, about; None where judging costs nothing but time."""
        return None

    def cost_of(self, verdicts: Sequence[Verdict]) -> Cost | None:
        """What these answers did cost, as their servers counted; None as for `estimate`."""
        return None

    def weights_folder(self) -> Path | None:
        """The folder of the judge's own model where this machine has it: to see its base."""
        return None

    def prompts_file(self) -> Path | None:
        """The file, in FastChat's form, of the prompts for ratings and games; None: it has none."""
        return None

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        """One Verdict per ordered pair."""
        raise JudgeError(f"{type(self).__name__} cannot compare responses")

    def rate(self, requests: Sequence[RatingRequest], progress: Progress) -> list[Verdict]:
        """One Verdict per rating, from 1 to 10."""
        raise JudgeError(f"{type(self).__name__} cannot rate responses")

    def play(self, requests: Sequence[GameRequest], progress: Progress) -> list[Verdict]:
        """One Verdict per game."""
        raise JudgeError(f"{type(self).__name__} cannot compare conversations")

    def stream(
        self, requests: Sequence[PairRequest] | Sequence[RatingRequest] | Sequence[GameRequest]
    ) -> Iterator[tuple[int, Verdict]] | None:
        """Each verdict with its request's index as soon as it is there; None: only whole lists.

        For judges whose answers cost money: every verdict is kept before the next is awaited.
        """
        return None

    def close(self) -> None:
        """Frees what the judge holds (a model in memory); it may be asked again all the same."""

    def check_prompts(self, prompts: Sequence[Prompt]) -> list[Problem]:
        """Why responses to these prompts could not be compared; seen before any are made."""
        return []

    def check_questions(self, questions: Sequence[Question]) -> list[Problem]:
        """Why answers to these questions could not be rated; seen before any are made."""
        return []

    def check_games(self, questions: Sequence[Question]) -> list[Problem]:
        """Why answers to these questions could not be compared; seen before any are made."""
        return [Problem("", f"{type(self).__name__} cannot compare conversations")]
