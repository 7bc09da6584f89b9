"""The roles that plug-ins play, each an abstract class; `registry.py` finds them by name.

A plug-in is one file in its role's room with a line `PLUGIN = TheClass`; the
file name is the name used in a recipe. `pipeline` makes the objects and hands
them to each other: plug-ins of different rooms never import each other.

| role      | room                | a recipe names it under        |
|-----------|---------------------|--------------------------------|
| Method    | evalkit.trainers    | stages[].method                |
| Engine    | evalkit.engines     | engine                         |
| Judge     | evalkit.judges      | judge                          |
| Benchmark | evalkit.benchmarks  | evaluation.benchmarks[]         |
| Scheme    | evalkit.quantize    | variants[]                      |
| Source    | evalkit.sources     | stages[].prompts, benchmark data |
| Builder   | evalkit.builders    | base.builder                   |
| Importer  | evalkit.importers   | (`evalkit card build --from`)  |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, model_validator

from evalkit.errors import JudgeError, Problem, RecipeError
from evalkit.records import (
    Checkpoint,
    Prompt,
    PromptGroup,
    Question,
    Response,
    ResultSet,
    TrainingExample,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Options(BaseModel):
    """A plug-in's own settings, read from the recipe: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PluginRef(BaseModel):
    """A plug-in by name with its own options beside it; a bare string is the name alone."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def key(self) -> str:
        """Its name as used in step and file names: hyphens are underscores, a path its stem."""
        name = self.name.rsplit("/", 1)[-1].removesuffix(".py")
        return name.replace("-", "_")

    @property
    def options(self) -> dict[str, Any]:
        """What stands beside the name; the plug-in's `Options` class validates it."""
        return dict(self.model_extra or {})


class Prefetched(NamedTuple):
    """What of a repository on the Hub was brought to this machine, and at which commit.

    kind: `model`, `dataset` or `space`. what: which files, in words; empty for all that count.
    """

    kind: str
    repo: str
    revision: str
    what: str = ""


class Plugin:
    """What every plug-in has: an `Options` class, and an instance of it as `self.options`.

    version: part of every fingerprint; raise it when the same options would
        now give another result, so that finished steps are not reused.
    requires: (Python package, extra) pairs that must be installed to use it. Importing the
        plug-in's file must import none of them: recipes are checked before anything heavy.
    """

    Options: ClassVar[type[Options]] = Options
    version: ClassVar[int] = 1
    requires: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, options: Any) -> None:
        self.options = options

    def check(self) -> list[Problem]:
        """Problems that can be seen before any expensive work; `where` may be an option's name."""
        return []

    def prefetch(self) -> list[Prefetched]:
        """Brings all that it would ask the Hub for into this machine's cache, and says what.

        Afterwards it works without a network.

        Raises:
            EvalkitError: something cannot be had.
        """
        return []


class Source(Plugin, ABC):
    """Where prompts come from. Deterministic in its options."""

    def prompts(self) -> list[Prompt]:
        """Single prompts (or conversations ending in a user turn), in a fixed order."""
        raise RecipeError(f"source {self!r} has no prompts")

    def questions(self) -> list[Question]:
        """Multi-turn questions, in a fixed order."""
        raise RecipeError(f"source {self!r} has no multi-turn questions")

    @abstractmethod
    def description(self) -> Mapping[str, str]:
        """`name`, `digest`, and where it has one the Hub `dataset` id and `revision`."""


class Builder(Plugin, ABC):
    """Makes a base checkpoint from nothing, deterministically in its options."""

    @abstractmethod
    def build(self, folder: Path, progress: Progress) -> None:
        """Writes an ordinary transformers checkpoint into the existing, empty `folder`."""

    @abstractmethod
    def description(self) -> Mapping[str, str]:
        """`how`: plain words on how the base was made, `license`, `languages`: for its card."""


class Imported(NamedTuple):
    """Results that another tool wrote: the model as its files name it, and the scores.

    result: `checkpoint` and `checkpoint_digest` are empty, as no weights were seen; provenance
        holds `imported`: {"tool", "file", "sha256", "model"} of what was read.
    """

    model: str
    result: ResultSet


class Importer(Plugin, ABC):
    """Reads the result files of another tool."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether the file or folder is one that this importer reads; opens no more than it must.

        Of a folder that holds such results further down, only the lowest one is recognised.
        """

    @abstractmethod
    def read(self, path: Path) -> list[Imported]:
        """Every result in it.

        Raises:
            RecipeError: the file is damaged, or says something impossible.
        """


class Progress(Protocol):
    """Reports how far a long piece of work is; `console.py` draws it."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


class LoadedModel(NamedTuple):
    """A transformers model in evaluation mode with its own tokenizer (`loading.py` makes them)."""

    model: Any
    tokenizer: Any


class Sampling(NamedTuple):
    """How responses are drawn. temperature 0 is greedy."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 512


class GenerationRequest(NamedTuple):
    """One prompt to continue `n` times.

    prompt_token_ids: the rendered prompt, BOS included where the template emits it.
    seed: of this request alone, so that a response does not depend on its batch mates' order.
    stop: strings that end a response (cut off from its text), beside the end-of-turn token.
    """

    prompt_token_ids: tuple[int, ...]
    n: int = 1
    seed: int = 0
    stop: tuple[str, ...] = ()


class ChatPlace(NamedTuple):
    """Where a model answers OpenAI chat completions: a Unix socket of this machine, and its name
    there.
    """

    socket_path: str
    model: str


class Engine(Plugin, ABC):
    """Generates text with one checkpoint at a time.

    own_memory: whether it holds weights beside those that `open_model` gives it; where there is
        one GPU, it then rests while others compute, and they while it does.
    """

    own_memory: ClassVar[bool] = False

    @abstractmethod
    def serve(self, checkpoint: Checkpoint, open_model: Callable[[], LoadedModel]) -> Engine:
        """Makes this the checkpoint that is generated with; returns the engine itself.

        Called before use, and again when another checkpoint is to be served. What takes long
        waits until it is first needed.

        open_model: loads the checkpoint into this process, for engines that compute in it.
        """

    @property
    @abstractmethod
    def tokenizer(self) -> Any:
        """The checkpoint's own tokenizer."""

    @abstractmethod
    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling, progress: Progress
    ) -> list[tuple[Response, ...]]:
        """`n` responses for each request, in request order."""

    def batches(self, requests: Sequence[GenerationRequest]) -> list[list[int]]:
        """Indices of the requests that are computed together, fixed by the request list alone."""
        return [[index] for index in range(len(requests))]

    def stream(
        self, batches: Sequence[Sequence[GenerationRequest]], sampling: Sampling
    ) -> Iterator[tuple[int, list[tuple[Response, ...]]]]:
        """Each batch's responses with its number, once they are whole; by default one by one.

        For engines that begin with a batch while the last responses of another are still due.
        """
        for number, batch in enumerate(batches):
            yield number, self.generate(batch, sampling, lambda done, total, note="": None)

    def identity(self) -> Mapping[str, Any]:
        """Name, version, dtype and attention kernel: for provenance."""
        return {}

    def chat_place(self) -> ChatPlace:
        """Where the checkpoint that it serves can be asked in chat; a server is started for it.

        It is awake and healthy when this returns.
        """
        raise RecipeError(
            f"{type(self).__name__} serves no chat completions", "take the engine 'vllm'"
        )

    def attach(self, place: ChatPlace) -> None:
        """Takes a server that another process of this run has started, and does not end it."""
        raise RecipeError(f"{type(self).__name__} has no server to attach to")

    def rest(self) -> None:
        """Gives memory back until it is asked to generate again."""

    def close(self) -> None:
        """Ends what the engine runs (a server)."""


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


class ScoringRequest(NamedTuple):
    """Continuations of one prompt (token ids), to be scored under a causal LM."""

    prompt_token_ids: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]


class ContinuationScore(NamedTuple):
    """Summed log-probability (nats, fp32), token count, and whether greedy decoding gives it."""

    logp: float
    n_tokens: int
    is_greedy: bool


class Scorer(Protocol):
    """The scoring core seen from outside (`scoring.py` implements it)."""

    def score(
        self, requests: Sequence[ScoringRequest], progress: Progress
    ) -> list[tuple[ContinuationScore, ...]]:
        """One score per continuation, in request order."""

    def batches(self, requests: Sequence[ScoringRequest]) -> list[list[int]]:
        """Indices of the requests that are computed together, fixed by the request list alone."""

    def stream(
        self, requests: Sequence[ScoringRequest], wanted: Sequence[int]
    ) -> Iterator[tuple[int, list[tuple[ContinuationScore, ...]]]]:
        """The answers of some of the batches, each with its number as soon as it is there."""


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

    def check_tokenizer(self, tokenizer: Any) -> list[Problem]:
        """Why this tokenizer cannot render what is asked; seen before the run where it is there.

        `where` is the name of an option.
        """
        return []


class DataNeeds(NamedTuple):
    """What a method must be given: gold responses, own samples (and how many), judged pairs.

    earlier: whose groups it trains on beside this iteration's, of the same stage: none, those of
        the previous iteration, or all.
    """

    gold: bool = False
    rejected: bool = False
    samples: int = 0
    judge: bool = False
    reference: bool = True
    earlier: Literal["none", "previous", "all"] = "none"


class Examples(NamedTuple):
    """A method's training set, and how many prompts were dropped for which reason."""

    examples: list[TrainingExample]
    dropped: dict[str, int]


class LogpBatch(NamedTuple):
    """A batch as a loss sees it, flat over all continuations (N) of all prompts (B) in it.

    policy_N carries the graph. example_N maps each continuation to its prompt, 0..B-1, ascending;
    the continuations of one prompt are in the order of its TrainingExample.
    drawn_N: True where the reference drew the continuation, neither the data nor an older policy.
    """

    policy_N: Tensor
    reference_N: Tensor | None
    targets_N: Tensor
    example_N: Tensor
    n_tokens_N: Tensor
    drawn_N: Tensor


class Statistic(Protocol):
    """Something worth watching, kept as sums: they add up over parts of a batch and over ranks.

    `evalkit.trainers.watching` has means and correlations.
    """

    def sums(self) -> torch.Tensor:
        """The sums of this part of a batch: one dimension, float64, detached."""
        ...

    @staticmethod
    def value(sums: Sequence[float]) -> float | None:
        """What the added-up sums say; None where they say nothing (a mean of no items)."""
        ...


class MethodLoss(NamedTuple):
    """A scalar loss to minimise (mean over the batch), and what is worth watching beside it.

    metrics: for every batch the same names, whatever is in it.
    """

    loss: torch.Tensor
    metrics: Mapping[str, Statistic]


class Method(Plugin, ABC):
    """A training objective: what data it needs, how groups become targets, and the loss.

    self_play: whether the model trains on its own samples, so that a stage makes iterations.
    weighting: what `loss` is a mean over, so that parts of a batch can be put together exactly.
    """

    self_play: ClassVar[bool] = False
    weighting: ClassVar[Literal["examples", "tokens"]] = "examples"

    @abstractmethod
    def needs(self) -> DataNeeds:
        """What must be gathered before training."""

    @abstractmethod
    def examples(self, groups: Sequence[PromptGroup], earlier: Sequence[PromptGroup]) -> Examples:
        """Training examples of this iteration's groups, and of `earlier` ones as `needs` says.

        earlier: oldest first; empty in a stage's first iteration.
        """

    @abstractmethod
    def loss(self, batch: LogpBatch) -> MethodLoss:
        """The loss of one batch."""


class Scheme(Plugin, ABC):
    """A way to make a smaller variant of a checkpoint."""

    label: ClassVar[str]  # for people: "4-bit (W4A16, GPTQ)"
    bits: ClassVar[int]
    suffix: ClassVar[str]  # of the repository name: "W4A16"
    tags: ClassVar[tuple[str, ...]]
    calibrated: ClassVar[bool] = False

    @abstractmethod
    def check_model(self, config: Mapping[str, Any]) -> list[Problem]:
        """What in a model's config.json stands in the way; `where` stays empty."""

    @abstractmethod
    def quantize(
        self, checkpoint: Checkpoint, calibration: Sequence[Sequence[int]], folder: Path
    ) -> Mapping[str, Any]:
        """Writes the variant, complete with tokenizer, into the existing, empty `folder`.

        calibration: token ids of prompt and response rendered with the chat
            template; empty unless `calibrated`.

        Returns facts about what was done, JSON values; `calibration_samples`, how many of those
        sequences were used (0 when uncalibrated), is among them.
        """
