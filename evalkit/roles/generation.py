"""The role that generates text, and what it is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from evalkit.errors import RecipeError
from evalkit.records import Checkpoint, Response
from evalkit.roles.plugin import Plugin, Progress


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
