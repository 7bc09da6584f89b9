"""A language model behind an OpenAI-compatible address: AlpacaEval 2 pairs, MT-Bench ratings.

Any server of the protocol will do: an API, or one's own vLLM. Prompts are the published ones,
verdicts come from log-probabilities (pairs) and from the rating in the judgment's text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, field_serializer, field_validator

from evalkit.chat_client import (
    DEFAULT_KEY_ENV,
    ChatAnswer,
    ChatClient,
    ChatRequest,
    ChatServer,
    listed_models,
    unknown_model,
)
from evalkit.errors import EvalkitError, JudgeError, Problem
from evalkit.judges.pair_prompt import PairPrompt, pair_verdict, read_pair_prompt
from evalkit.judges.rating_prompts import (
    WHERE_TO_GET,
    RatingPrompts,
    obstacle,
    rating_verdict,
    read_rating_prompts,
)
from evalkit.records import Prompt, Question
from evalkit.roles import Averaged, Judge, Options, PairRequest, Progress, RatingRequest, Verdict

Request = TypeVar("Request", PairRequest, RatingRequest)


class LlmOptions(Options):
    """Who judges, with which prompts; and how it is asked, which changes no verdict.

    endpoint: address up to and with /v1. model: its name there.
    template: of pairs: a folder of alpaca_eval's evaluators_configs, or a file `*.txt` like those.
    rating_prompts: FastChat's judge_prompts.jsonl; only ratings need it.
    logprobs: of pairs: `required`; `optional`, where the answer `m` or `M` decides if there are
        none; or `off`, where they are not asked for.
    temperature: default 0 for ratings and 1 for pairs as published, 0 for pairs without `required`.
    max_tokens: of a rating's judgment. pair_max_tokens: of a pair's answer.
    top_logprobs: how many of a pair's first tokens are asked for.
    extra_body: further fields of every request; null takes one out.
    api_key_env: the environment variable with the key.
    concurrency: requests under way at a time. timeout_s: seconds that one may take.
    attempts: how often a failed one is sent. backoff_s: seconds before the second time; then
        twice as many.
    """

    endpoint: str = "https://api.openai.com/v1"
    model: str = Field(min_length=1)
    template: str = "alpaca_eval_clf_gpt4_turbo"
    rating_prompts: Path | None = None
    logprobs: Literal["required", "optional", "off"] = "required"
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int = Field(default=2048, gt=0)
    pair_max_tokens: int = Field(default=1, gt=0)
    top_logprobs: int = Field(default=5, ge=2, le=20)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    # Left out of the dump, from which fingerprints are taken: these may change while a step is
    # half done, and what was paid for stays valid.
    api_key_env: str = Field(default=DEFAULT_KEY_ENV, min_length=1, exclude=True)
    concurrency: int = Field(default=8, ge=1, le=256, exclude=True)
    timeout_s: float = Field(default=120.0, gt=0, exclude=True)
    attempts: int = Field(default=6, ge=1, exclude=True)
    backoff_s: float = Field(default=1.0, ge=0, exclude=True)

    @field_validator("endpoint")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an address: give one such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("only host and path: a key belongs in the variable of `api_key_env`")
        if parts.path.rstrip("/").endswith(("/chat/completions", "/completions")):
            raise ValueError("too long an address: give it only up to and with /v1")
        return value

    @field_serializer("endpoint")
    def _host_only(self, endpoint: str) -> str:
        return ChatServer(endpoint, self.model).host

    @field_serializer("template")
    def _template_digest(self, name: str) -> str:
        return _digest(lambda: read_pair_prompt(name), name)

    @field_serializer("rating_prompts")
    def _rating_digest(self, file: Path | None) -> str | None:
        return None if file is None else _digest(lambda: read_rating_prompts(file), str(file))


class LlmJudge(Judge):
    """Compares as AlpacaEval 2 does, rates as MT-Bench does."""

    Options: ClassVar[type[Options]] = LlmOptions
    averaged: Averaged = "probabilities"
    options: LlmOptions
    requires: ClassVar[tuple[tuple[str, str], ...]] = (("httpx", "eval"),)

    def identity(self) -> Mapping[str, Any]:
        """Model, host, prompts by digest, and what is sent with them: no key, no address."""
        options = self.options
        found = {
            "name": "llm",
            "version": self.version,
            "model": options.model,
            "endpoint": self._server.host,
            "pairs": {
                "template": Path(options.template).name,
                **_package_version(options.template),
                "sha256": options.model_dump(include={"template"})["template"],
                "logprobs": options.logprobs,
                **self._pair_body(),
            },
        }
        if options.rating_prompts is not None:
            prompts = options.model_dump(include={"rating_prompts"})["rating_prompts"]
            found["ratings"] = {"sha256": prompts, **self._rating_body()}
        return found

    def check(self) -> list[Problem]:
        """Prompts that cannot be read, and a server that does not answer, or not for this model."""
        problems = [
            Problem.of(option, error)
            for option, read in (("template", self._pair_prompt), ("rating_prompts", self._forms))
            if getattr(self.options, option) is not None
            and (error := _error_of(read)) is not None
            # Whoever only rates needs no alpaca_eval: `check_prompts` asks for it.
            and not (option == "template" and Problem.of("", error).prerequisite)
        ]
        try:
            listed = listed_models(self._server)
        except EvalkitError as error:
            return [*problems, Problem.of("endpoint", error)]
        if listed and self.options.model not in listed:
            problems.append(Problem.of("model", unknown_model(self._server, listed)))
        return problems

    def check_prompts(self, prompts: Sequence[Prompt]) -> list[Problem]:
        """A template that is not installed."""
        error = _error_of(self._pair_prompt)
        return [] if error is None else [Problem.of("", error)]

    def check_questions(self, questions: Sequence[Question]) -> list[Problem]:
        """Missing judge prompts; turns that cannot be rated, one of them by name."""
        if self.options.rating_prompts is None:
            return [Problem("", "the llm judge has no `rating_prompts` to rate with", WHERE_TO_GET)]
        turns = [(q, turn) for q in questions for turn in range(1, len(q.turns) + 1)]
        found = [reason for q, turn in turns if (reason := obstacle(q, turn))]
        if not found:
            return []
        message = f"{len(found)} of {len(turns)} turns cannot be rated, first: {found[0]}"
        hint = "the option `reference_answers` of mt_bench names a file of them"
        return [Problem("", message, hint if "reference" in found[0] else "")]

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        """Logits from the log-probabilities of `m` and `M`, kept within -40 and 40."""
        return _in_order(self._compared(requests), len(requests), progress)

    def rate(self, requests: Sequence[RatingRequest], progress: Progress) -> list[Verdict]:
        """Ratings of first and second turns; the judgment is the Verdict's reason."""
        return _in_order(self._rated(requests), len(requests), progress)

    def stream(
        self, requests: Sequence[PairRequest] | Sequence[RatingRequest]
    ) -> Iterator[tuple[int, Verdict]]:
        """What `compare` or `rate` return, verdict by verdict."""
        pairs = [request for request in requests if isinstance(request, PairRequest)]
        ratings = [request for request in requests if isinstance(request, RatingRequest)]
        return self._rated(ratings) if ratings else self._compared(pairs)

    def _compared(self, requests: Sequence[PairRequest]) -> Iterator[tuple[int, Verdict]]:
        prompt, body = self._pair_prompt(), self._pair_body()
        asked = [ChatRequest(prompt.filled(request), body) for request in requests]
        with_text = self.options.logprobs != "required"
        for index, answer in self._answers(asked):
            yield index, pair_verdict(answer, with_text)

    def _rated(self, requests: Sequence[RatingRequest]) -> Iterator[tuple[int, Verdict]]:
        prompts, body = self._forms(), self._rating_body()
        obstacles = [obstacle(request.question, len(request.answers)) for request in requests]
        yield from ((i, Verdict(None, reason)) for i, reason in enumerate(obstacles) if reason)
        places = [i for i, reason in enumerate(obstacles) if not reason]
        asked = [ChatRequest(prompts.filled(requests[i]), body) for i in places]
        for index, answer in self._answers(asked):
            yield places[index], rating_verdict(answer)

    def _answers(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, ChatAnswer]]:
        return ChatClient(self._server).answers(requests)

    def _pair_prompt(self) -> PairPrompt:
        return read_pair_prompt(self.options.template)

    def _forms(self) -> RatingPrompts:
        if self.options.rating_prompts is None:
            raise JudgeError("the llm judge has no `rating_prompts` to rate with", WHERE_TO_GET)
        return read_rating_prompts(self.options.rating_prompts)

    def _pair_body(self) -> dict[str, Any]:
        options = self.options
        as_published = options.logprobs == "required"
        body: dict[str, Any] = {
            "max_tokens": options.pair_max_tokens,
            "temperature": self._temperature(1.0 if as_published else 0.0),
        }
        if options.logprobs != "off":
            body |= {"logprobs": True, "top_logprobs": options.top_logprobs}
        return self._with_extra(body)

    def _rating_body(self) -> dict[str, Any]:
        body = {"max_tokens": self.options.max_tokens, "temperature": self._temperature(0.0)}
        return self._with_extra(body)

    def _temperature(self, published: float) -> float:
        given = self.options.temperature
        return published if given is None else given

    def _with_extra(self, body: Mapping[str, Any]) -> dict[str, Any]:
        whole = {**body, **self.options.extra_body}
        return {key: value for key, value in whole.items() if value is not None}

    @property
    def _server(self) -> ChatServer:
        options = self.options
        return ChatServer(
            endpoint=options.endpoint,
            model=options.model,
            key_env=options.api_key_env,
            concurrency=options.concurrency,
            timeout_s=options.timeout_s,
            attempts=options.attempts,
            backoff_s=options.backoff_s,
        )


PLUGIN = LlmJudge


def _in_order(
    verdicts: Iterator[tuple[int, Verdict]], count: int, progress: Progress
) -> list[Verdict]:
    found: dict[int, Verdict] = {}
    for index, verdict in verdicts:
        found[index] = verdict
        progress(len(found), count)
    return [found[index] for index in range(count)]


def _error_of(read: Callable[[], Any]) -> EvalkitError | None:
    try:
        read()
    except EvalkitError as error:
        return error
    return None


def _digest(read: Callable[[], PairPrompt | RatingPrompts], name: str) -> str:
    """The digest of a prompt file; of one that the checks refuse, its name."""
    try:
        return read().sha256
    except EvalkitError:
        return name


def _package_version(template: str) -> dict[str, str]:
    try:
        return {} if template.endswith(".txt") else {"alpaca_eval": version("alpaca_eval")}
    except PackageNotFoundError:
        return {}
