"""Small real parts that benchmark tests hand to a benchmark: engine, scorer, judge, source."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import Problem
from evalkit.loading import load_model, weights_digest
from evalkit.records import Checkpoint, Prompt, Question, Response
from evalkit.roles import (
    BenchmarkContext,
    GameRequest,
    GenerationRequest,
    Judge,
    Options,
    PairRequest,
    Progress,
    RatingRequest,
    Sampling,
    Source,
    Verdict,
)
from evalkit.scoring import CheckpointScorer


def silent(done: int, total: int, note: str = "") -> None:
    """A Progress that shows nothing."""


class RecordingEngine(TransformersEngine):
    """The real engine, which also notes how it was asked to sample."""

    def __init__(self) -> None:
        super().__init__(TransformersEngine.Options())
        self.calls: list[Sampling] = []

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling, progress: Progress
    ) -> list[tuple[Response, ...]]:
        self.calls.append(sampling)
        return super().generate(requests, sampling, progress)


def engine(loaded: Any) -> RecordingEngine:
    """An engine that serves `loaded`."""
    made = RecordingEngine()
    made.serve(Checkpoint("base", "held in memory", "", "float32"), lambda: loaded)
    return made


class TasteJudge(Judge):
    """Likes vowels, dislikes nothing, and has no opinion where a marker is in the prompt.

    position_bias: logit added to whatever is shown first.
    """

    def __init__(self, position_bias: float = 0.0, silent_on: str = "MUTE") -> None:
        super().__init__(Options())
        self.position_bias = position_bias
        self.silent_on = silent_on
        self.pairs: list[PairRequest] = []
        self.ratings: list[RatingRequest] = []
        self.games: list[GameRequest] = []

    def identity(self) -> Mapping[str, Any]:
        return {"name": "taste", "position_bias": self.position_bias}

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        self.pairs += requests
        return [self._compare(request) for request in requests]

    def _compare(self, request: PairRequest) -> Verdict:
        if self.silent_on in request.prompt.messages[-1].content:
            return Verdict(None, "refused")
        return Verdict(_vowels(request.first) - _vowels(request.second) + self.position_bias)

    def rate(self, requests: Sequence[RatingRequest], progress: Progress) -> list[Verdict]:
        self.ratings += requests
        return [self._rate(request) for request in requests]

    def play(self, requests: Sequence[GameRequest], progress: Progress) -> list[Verdict]:
        self.games += requests
        return [self._play(request) for request in requests]

    def _play(self, request: GameRequest) -> Verdict:
        if self.silent_on in request.question.turns[len(request.first) - 1].content:
            return Verdict(None, "refused")
        gained = _vowels(request.first[-1]) - _vowels(request.second[-1])
        return Verdict(gained + self.position_bias)

    def check_games(self, questions: Sequence[Question]) -> list[Problem]:
        return []

    def _rate(self, request: RatingRequest) -> Verdict:
        if self.silent_on in request.question.turns[len(request.answers) - 1].content:
            return Verdict(None, "refused")
        return Verdict(1.0 + _vowels(request.answers[-1]) % 10, "counted the vowels")


def _vowels(text: str) -> int:
    return sum(letter in "aeiou" for letter in text)


class ListSource(Source):
    """Prompts and questions handed over as they are."""

    def __init__(self, prompts: Sequence[Prompt] = (), questions: Sequence[Question] = ()) -> None:
        super().__init__(Options())
        self._prompts, self._questions = list(prompts), list(questions)

    def prompts(self) -> list[Prompt]:
        return self._prompts

    def questions(self) -> list[Question]:
        return self._questions

    def description(self) -> Mapping[str, str]:
        return {"name": "list/all", "digest": "0" * 64}


def context(
    folder: Path,
    results: Path,
    *,
    loaded: Any = None,
    judge: Judge | None = None,
    source: Source | None = None,
    name: str = "tiny",
    seed: int = 0,
) -> BenchmarkContext:
    """A context over the checkpoint in `folder`, leaving raw files in `results`."""
    loaded = loaded or load_model(folder, dtype="float32", device="cpu")
    generator, scorer = engine(loaded), CheckpointScorer(loaded)
    return BenchmarkContext(
        checkpoint=Checkpoint(name, str(folder), weights_digest(folder), "float32"),
        tokenizer=loaded.tokenizer,
        folder=results,
        seed=seed,
        progress=silent,
        open_engine=lambda: generator,
        open_scorer=lambda: scorer,
        open_judge=lambda: judge or TasteJudge(),
        open_source=lambda reference: source or ListSource(),
    )


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes JSON lines and returns the file."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file
