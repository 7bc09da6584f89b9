"""Generates with vLLM: a server that evalkit starts and stops, a running one, or in this process.

Prompts go and responses come as token ids. Each request has a seed of its own; what else vLLM
computes at the same moment changes rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from evalkit import rendering
from evalkit.engines.endings import declared_end, end_token_ids, response, rooms, up_to_stop
from evalkit.engines.vllm_attached import AttachedServer
from evalkit.engines.vllm_client import Call, Sampled
from evalkit.engines.vllm_environment import find_installed, is_importable
from evalkit.engines.vllm_in_process import InProcess
from evalkit.engines.vllm_options import VllmOptions, as_words, environment
from evalkit.engines.vllm_running import RunningServer
from evalkit.engines.vllm_server import MODEL, VllmServer
from evalkit.errors import EvalkitError, Problem, RecipeError, ScoreError
from evalkit.loading import config_of, load_tokenizer, stored_dtype
from evalkit.records import Checkpoint, Response
from evalkit.roles import (
    ChatPlace,
    Engine,
    GenerationRequest,
    LoadedModel,
    Options,
    Progress,
    Sampling,
)

REQUESTS_PER_BATCH = 256  # the journal's unit; vLLM itself batches token by token
# Neutral values, said in every request: a server's own defaults must not decide a result.
# Source: vllm.SamplingParams.
NEUTRAL = {
    "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
    "frequency_penalty": 0.0, "ignore_eos": False,
    "skip_special_tokens": True,  # in the text that is searched for stop strings
}  # fmt: skip


class VllmEngine(Engine):
    """Starts what it needs when it is first asked to generate."""

    Options: ClassVar[type[Options]] = VllmOptions
    own_memory: ClassVar[bool] = True
    requires: ClassVar[tuple[tuple[str, str], ...]] = (("transformers", "train"),)
    options: VllmOptions

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._checkpoint: Checkpoint | None = None
        self._tokenizer: Any = None
        self._place: RunningServer | InProcess | VllmServer | None = None
        self._place_dtype = ""
        self._chat: VllmServer | AttachedServer | None = None

    def serve(self, checkpoint: Checkpoint, open_model: Callable[[], LoadedModel]) -> VllmEngine:
        if checkpoint != self._checkpoint:
            self._checkpoint, self._tokenizer = checkpoint, None
        return self

    def check(self) -> list[Problem]:
        """No vLLM where it is looked for; a server that does not answer."""
        try:
            if self.options.url is not None:
                self._running(self.options.url).check()
            elif not self._in_process:
                find_installed(self.options.python)
            elif not is_importable():
                hint = "leave `mode` out: a server of another environment is then used"
                return [Problem("mode", "vLLM is not installed in this environment", hint, True)]
        except EvalkitError as error:
            return [Problem.of("url" if self.options.url is not None else "", error)]
        return []

    @property
    def tokenizer(self) -> Any:
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._path)
        return self._tokenizer

    def identity(self) -> Mapping[str, Any]:
        """The same whether or not a server runs: a resumed step may need none."""
        options = self.options
        if options.url is not None:
            return {"engine": "vllm", "version": self._running(options.url).version()}
        installed = find_installed(options.python)
        return {
            "engine": "vllm",
            "version": installed.version,
            "dtype": self._dtype(),
            "attention": options.attention_backend or "auto",
            "enforce_eager": options.is_eager(installed.on_cpu),
            **({"arguments": options.arguments} if options.arguments else {}),
        }

    def batches(self, requests: Sequence[GenerationRequest]) -> list[list[int]]:
        starts = range(0, len(requests), REQUESTS_PER_BATCH)
        return [list(range(len(requests)))[at : at + REQUESTS_PER_BATCH] for at in starts]

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling, progress: Progress
    ) -> list[tuple[Response, ...]]:
        """`n` responses for each request, in request order.

        Raises:
            ScoreError: a prompt is empty, leaves no room in the model's context, or is refused.
            PrerequisiteError: vLLM is missing, does not start, or dies.
        """
        answers: list[tuple[Response, ...]] = [()] * len(requests)
        for done, (index, answer) in enumerate(self._answers(requests, sampling), start=1):
            answers[index] = answer
            progress(done, len(requests), "generating")
        return answers

    def stream(
        self, batches: Sequence[Sequence[GenerationRequest]], sampling: Sampling
    ) -> Iterator[tuple[int, list[tuple[Response, ...]]]]:
        """Each batch as it is whole; a server works on the next ones meanwhile."""
        places = [
            (number, place) for number, one in enumerate(batches) for place in range(len(one))
        ]
        made: list[dict[int, tuple[Response, ...]]] = [{} for _ in batches]
        requests = [request for batch in batches for request in batch]
        for index, answer in self._answers(requests, sampling):
            number, place = places[index]
            made[number][place] = answer
            if len(made[number]) == len(batches[number]):
                yield number, [made[number][place] for place in range(len(batches[number]))]
                made[number] = {}

    def chat_place(self) -> ChatPlace:
        """Where its checkpoint answers chat completions; the server is started at the first call.

        It stays for the checkpoint: memory of a GPU it gives back in `rest`, and on a CPU nothing.

        Raises:
            PrerequisiteError: vLLM is missing, does not start, or dies.
        """
        if self.options.url is not None:
            raise RecipeError(
                "a judge's model is served by a server of its own, and this engine has a `url`",
                "for a server that runs already give the judge its `endpoint`, without `serve`",
            )
        if self._chat is None:
            self._chat = self._new_server(self._dtype(), stays=True)
        return ChatPlace(self._chat.chat_socket(self._path), MODEL)

    def attach(self, place: ChatPlace) -> None:
        sleeps = not find_installed(self.options.python).on_cpu
        self._chat = AttachedServer(place.socket_path, sleeps)

    def rest(self) -> None:
        for place in (self._place, self._chat):
            if place is not None:
                place.rest()

    def close(self) -> None:
        for place in (self._place, self._chat):
            if place is not None:
                place.stop()

    # --- requests and responses --------------------------------------------------------------

    def _answers(
        self, requests: Sequence[GenerationRequest], sampling: Sampling
    ) -> Iterator[tuple[int, tuple[Response, ...]]]:
        if not requests:
            return
        calls = self._calls(requests, sampling)
        together = max(1, self.options.concurrency // max(request.n for request in requests))
        for index, sampled in self._opened().complete(calls, self._path, together):
            answer = self._whole(calls[index], sampled)
            # Greedy responses are equal, and vLLM computes no more than one.
            yield index, answer * (requests[index].n // len(answer))

    def _whole(self, call: Call, sampled: Sequence[Sampled]) -> tuple[Response, ...]:
        """The responses of a call, asked for again where vLLM lost a token.

        vLLM 0.32 can drop the token that completes a stop string when the end token follows it.
        The same seed without stop strings draws the same tokens, to be cut here.
        """
        tokenizer, stop = self.tokenizer, call.sampling["stop"]
        answer = tuple(_response(tokenizer, one, stop) for one in sampled)
        if not any(self._lost_its_stop(one, call) for one in answer):
            return answer
        free = Call(call.prompt_token_ids, {**call.sampling, "stop": []})
        ((_, again),) = self._opened().complete([free], self._path, 1)
        return tuple(
            _response(
                tokenizer, one._replace(token_ids=up_to_stop(tokenizer, one.token_ids, stop)), stop
            )
            for one in again
        )

    def _lost_its_stop(self, answer: Response, call: Call) -> bool:
        if answer.finish_reason != "stop" or not call.sampling["stop"]:
            return False
        ended = set(answer.token_ids[-1:]) & set(call.sampling["stop_token_ids"])
        text = rendering.decode(self.tokenizer, answer.token_ids)
        return not ended and not any(one in text for one in call.sampling["stop"])

    def _calls(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Call]:
        ends = sorted(end_token_ids(self.tokenizer, declared_end(self._path)))
        config = config_of(self._path)
        text = config.get("text_config", config)  # of a model that sees, one of several
        context = self.options.max_model_len or text.get("max_position_embeddings")
        common = {
            **NEUTRAL,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stop_token_ids": ends,
        }
        return [
            Call(
                request.prompt_token_ids,
                {
                    **common,
                    "n": request.n if sampling.temperature else 1,
                    "seed": request.seed,
                    "max_tokens": room,
                    "stop": list(request.stop),
                },
            )
            for request, room in zip(
                requests, rooms(requests, sampling.max_new_tokens, context), strict=True
            )
        ]

    # --- where vLLM is -----------------------------------------------------------------------

    @property
    def _in_process(self) -> bool:
        options = self.options
        wanted = options.mode == "auto" and options.python is None and is_importable()
        return options.url is None and (wanted or options.mode == "in_process")

    def _opened(self) -> RunningServer | InProcess | VllmServer:
        dtype = self._dtype()
        if self._place is not None and self._place_dtype != dtype:
            self.close()
            self._place = None
        if self._place is None:
            self._place, self._place_dtype = self._new_place(dtype), dtype
        return self._place

    def _new_place(self, dtype: str) -> RunningServer | InProcess | VllmServer:
        options = self.options
        if options.url is not None:
            return self._running(options.url)
        if self._in_process:
            on_cpu = find_installed(options.python).on_cpu
            return InProcess(options.llm_arguments(dtype, on_cpu), environment(on_cpu))
        return self._new_server(dtype, stays=options.reload_weights)

    def _new_server(self, dtype: str, stays: bool) -> VllmServer:
        """stays: on a CPU, where its memory is no matter, while others compute."""
        options = self.options
        installed = find_installed(options.python)
        return VllmServer(
            installed,
            as_words(options.llm_arguments(dtype, installed.on_cpu)),
            environment(installed.on_cpu),
            start_timeout_s=options.start_timeout_s,
            timeout_s=options.timeout_s,
            reload=stays,
        )

    def _running(self, url: str) -> RunningServer:
        return RunningServer(url, self.options.api_key_env, self.options.timeout_s)

    def _dtype(self) -> str:
        """vLLM's own `auto` would turn float32 into a half precision."""
        stored = stored_dtype(config_of(self._path)).removeprefix("torch.")
        return stored if self.options.dtype == "auto" else self.options.dtype

    @property
    def _path(self) -> str:
        if self._checkpoint is None:
            raise RecipeError("the vllm engine serves no checkpoint yet", "call serve first")
        return self._checkpoint.path


def _response(tokenizer: Any, sampled: Sampled, stop: Sequence[str]) -> Response:
    if sampled.finish_reason not in ("stop", "length"):
        raise ScoreError(
            f"vLLM ended a response with '{sampled.finish_reason}'",
            "look at the server's log; what it has answered is kept, so run the same command again",
        )
    return response(tokenizer, sampled.token_ids, sampled.finish_reason == "stop", stop)


PLUGIN = VllmEngine
