"""Generates with plain transformers, in batches fixed by the request list; runs anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from evalkit import rendering, roles
from evalkit.engines.endings import end_token_ids, response, rooms
from evalkit.errors import RecipeError
from evalkit.records import Checkpoint, Response
from evalkit.roles import Engine, GenerationRequest, LoadedModel, Progress, Sampling

CPU_ROWS = 256
GPU_ROWS = 128
PREFILL_TOKENS = 65536  # padded prompt tokens of a batch
_STOP_WINDOW = 16  # tokens decoded beyond a stop string's characters when looking for it


class TransformersEngine(Engine):
    """Batched sampling with a KV cache; prompts of similar length share a batch.

    Loads its model when it is first asked. A batch is closed under re-batching: generating its
    requests alone gives the same responses, which is what a resumed run relies on.
    """

    class Options(roles.Options):
        """Settings of the transformers engine."""

        batch_rows: Annotated[int, Field(ge=1)] | None = Field(
            None, description="responses generated at a time; default by device"
        )

    requires = (("torch", "train"), ("transformers", "train"))
    options: Options

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._open_model: Callable[[], LoadedModel] | None = None
        self._loaded: LoadedModel | None = None
        # Kept while the model rests: to be asked for them, it need not be loaded again.
        self._tokenizer: Any = None
        self._identity: Mapping[str, Any] = {}

    def serve(
        self, checkpoint: Checkpoint, open_model: Callable[[], LoadedModel]
    ) -> TransformersEngine:
        self._open_model, self._loaded = open_model, None
        self._tokenizer, self._identity = None, {}
        return self

    @property
    def tokenizer(self) -> Any:
        if self._tokenizer is None:
            self._tokenizer = self._model_and_tokenizer().tokenizer
        return self._tokenizer

    def identity(self) -> Mapping[str, Any]:
        if not self._identity:
            self._identity = _identity(self._model_and_tokenizer().model)
        return self._identity

    def batches(self, requests: Sequence[GenerationRequest]) -> list[list[int]]:
        import torch

        most = self.options.batch_rows or (GPU_ROWS if torch.cuda.is_available() else CPU_ROWS)
        lengths = [len(request.prompt_token_ids) for request in requests]
        order = sorted(range(len(requests)), key=lambda index: (-lengths[index], index))
        batches: list[list[int]] = []
        rows = width = 0
        for index in order:
            count = requests[index].n
            padded = (len(batches[-1]) + 1) * width if batches else 0
            if not batches or rows + count > most or padded > PREFILL_TOKENS:
                batches.append([])
                rows, width = 0, lengths[index]
            batches[-1].append(index)
            rows += count
        return batches

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling, progress: Progress
    ) -> list[tuple[Response, ...]]:
        """`n` responses for each request, in request order.

        Raises:
            ScoreError: a prompt is empty, or leaves no room in the model's context.
        """
        answers: list[tuple[Response, ...]] = [()] * len(requests)
        done = 0
        for batch in self.batches(requests):
            chosen = [requests[index] for index in batch]
            for index, answer in zip(batch, self._generate_batch(chosen, sampling), strict=True):
                answers[index] = answer
            done += len(batch)
            progress(done, len(requests), "generating")
        return answers

    def rest(self) -> None:
        self._loaded = None

    def _generate_batch(
        self, requests: Sequence[GenerationRequest], sampling: Sampling
    ) -> list[tuple[Response, ...]]:
        from evalkit.engines.decoding import Row, decode_rows

        model, tokenizer = self._model_and_tokenizer()
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        left = rooms(requests, sampling.max_new_tokens, context)
        rows = [
            [
                Row(
                    random.Random(f"{request.seed} sample {number}"),
                    _stop_check(tokenizer, request.stop),
                )
                for number in range(request.n)
            ]
            for request in requests
        ]
        # Prompts with less room than the rest decode apart: together, their own early end would be
        # everyone's, or the others' padding would push the cache beyond the model's context.
        for room in sorted(set(left), reverse=True):
            chosen = [index for index, own in enumerate(left) if own == room]
            decode_rows(
                model,
                [requests[index].prompt_token_ids for index in chosen],
                [rows[index] for index in chosen],
                sampling._replace(max_new_tokens=room),
                self._end_ids(),
            )
        return [
            tuple(response(tokenizer, row.token_ids, row.finished, request.stop) for row in group)
            for request, group in zip(requests, rows, strict=True)
        ]

    def _end_ids(self) -> frozenset[int]:
        model, tokenizer = self._model_and_tokenizer()
        return end_token_ids(tokenizer, getattr(model.generation_config, "eos_token_id", None))

    def _model_and_tokenizer(self) -> LoadedModel:
        if self._open_model is None:
            raise RecipeError("the transformers engine serves no model yet", "call serve first")
        if self._loaded is None:
            self._loaded = self._open_model()
        return self._loaded


def _identity(model: Any) -> dict[str, Any]:
    from transformers import __version__

    from evalkit.scoring.branching import BRANCHING

    kernel = model.config._attn_implementation
    return {
        "engine": "transformers",
        "version": __version__,
        "dtype": str(model.dtype).removeprefix("torch."),
        # Whether something was scored before, in the same process, makes no difference to text.
        "attention": "sdpa" if kernel == BRANCHING else kernel,
    }


def _stop_check(tokenizer: Any, stop: Sequence[str]) -> Callable[[list[int]], bool]:
    if not stop:
        return lambda token_ids: False
    window = max(map(len, stop)) + _STOP_WINDOW

    def found(token_ids: list[int]) -> bool:
        recent = rendering.decode(tokenizer, token_ids[-window:])
        return any(text in recent for text in stop)

    return found


PLUGIN = TransformersEngine
