"""The role that measures a checkpoint, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from evalkit.errors import Problem
from evalkit.records import Checkpoint, Comparison, ResultSet
from evalkit.roles.data import Source
from evalkit.roles.generation import Engine
from evalkit.roles.judging import GameRequest, Judge, PairRequest, RatingRequest
from evalkit.roles.plugin import Plugin, PluginRef, Progress
from evalkit.roles.scoring import Scorer


class EvaluationItem(NamedTuple):
    """The words of one item, for finding it in other texts.

    id, task: as in the Samples of a result.
    texts: what it is when met whole, in each of its forms (a question with each of its choices).
    """

    id: str
    task: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class BenchmarkContext:
    """What a benchmark is given. Engine, scorer and judge are opened on first use.

    folder: a scratch folder of this step; raw result files may be left in it and are published.
    """

    checkpoint: Checkpoint
    tokenizer: Any
    folder: Path
    seed: int
    progress: Progress
    open_engine: Callable[[], Engine]
    open_scorer: Callable[[], Scorer]
    open_judge: Callable[[], Judge]
    open_source: Callable[[PluginRef], Source]


class Benchmark(Plugin, ABC):
    """One evaluation suite."""

    label: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()  # of: scorer, engine, judge

    @abstractmethod
    def run(self, context: BenchmarkContext) -> ResultSet:
        """Measures `context.checkpoint`. Failed items are counted as missing, never scored."""

    def sources(self) -> list[PluginRef]:
        """The data references among its options, for checking before the run."""
        return []

    def data_digests(self) -> Mapping[str, str]:
        """sha256 of each other file that decides the result, by option: part of the fingerprint."""
        return {}

    def check_data(
        self, open_source: Callable[[PluginRef], Source], judge: Judge | None
    ) -> list[Problem]:
        """Problems of the data itself, and of this judge with it; called when `check` found none.

        `where` is the name of an option.
        """
        return []

    def item_metrics(self, open_source: Callable[[PluginRef], Source]) -> Collection[str] | None:
        """Names of the scores that two checkpoints are compared by, item by item.

        None where they are not known before it has run.
        """
        return None

    def items(self, open_source: Callable[[PluginRef], Source]) -> list[EvaluationItem] | None:
        """Every item that `run` would ask, no model needed; None where it cannot say."""
        return None

    def judgements(
        self, open_source: Callable[[PluginRef], Source]
    ) -> Sequence[PairRequest] | Sequence[RatingRequest] | Sequence[GameRequest]:
        """About what a judge is asked for one checkpoint, to say beforehand what that will cost.

        Stand-ins are in the place of answers that nobody has given yet.
        """
        return []

    def fitted_differences(self, a: ResultSet, b: ResultSet, seed: int) -> Iterable[Comparison]:
        """Paired differences of scores that are fitted to all items together, `b` from `a`.

        Those of means of items are known without the benchmark. Both results have samples.

        Raises:
            ScoreError: the two were not measured alike.
        """
        return ()

    def check_tokenizer(self, tokenizer: Any) -> list[Problem]:
        """Why this tokenizer cannot render what is asked; seen before the run where it is there.

        `where` is the name of an option.
        """
        return []
