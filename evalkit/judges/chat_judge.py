"""What all judges share that are language models asked in chat: where the model is, and how asked.

It answers at an address (an API, somebody's own server), or evalkit serves it itself: once for
a whole run, by an engine that the pipeline opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_serializer, field_validator, model_validator

from evalkit.chat_client import (
    DEFAULT_KEY_ENV,
    Budget,
    ChatAnswer,
    ChatClient,
    ChatRequest,
    ChatServer,
    Ledger,
    Price,
    Usage,
    about,
    at_most,
    known_price,
    listed_models,
    unknown_model,
)
from evalkit.errors import EvalkitError, JudgeError, Problem, RecipeError
from evalkit.judges.model_place import Place, bring, find_place, place_problems
from evalkit.loading import check_folder, config_of, load_tokenizer, stored_dtype, weights_digest
from evalkit.records import Checkpoint
from evalkit.roles import ChatPlace, Cost, Judge, Options, PluginRef, Prefetched, Verdict

EXAMPLE = "Qwen/Qwen2.5-72B-Instruct"
OPENAI = "https://api.openai.com/v1"
_HERE = "http://localhost/v1"  # over the socket of a server of ours, where only the path counts


class ChatOptions(Options):
    """Which model is asked and where; and how it is asked, which changes no verdict.

    endpoint: address up to and with /v1. model: its name there; a dated one where there is one.
    serve: in place of both, a folder or a Hub id of a model that evalkit serves itself, once for
        the whole run. revision: a commit, tag or branch of the Hub id.
    answers_as: the name that its answers bear, where that is neither `model` nor a dated form of
        it; an answer under another name is not taken.
    engine: what serves the model of `serve`, e.g. {name: vllm, max_model_len: 16384}.
    extra_body: further fields of every request; null takes one out.
    api_key_env: the environment variable with the key.
    price_in, price_out: US dollars per million tokens; default evalkit's own dated table.
    budget_usd, budget_tokens: the most that a run may spend on this model; it stops before.
    concurrency: requests under way at a time. timeout_s: seconds that one may take.
    requests_per_minute: how many are sent at most, evenly spread.
    attempts: how often a failed one is sent. backoff_s: seconds before the second time; then
        twice as many.
    """

    endpoint: str = OPENAI
    model: str = ""
    serve: str | None = None
    revision: str | None = None
    answers_as: str | None = None
    extra_body: dict[str, Any] = Field(default_factory=dict)
    # Left out of the dump, from which fingerprints are taken: these may change while a step is
    # half done, and what was paid for stays valid. Of the engine, the pipeline puts in what counts.
    engine: PluginRef = Field(default=PluginRef(name="vllm"), exclude=True)
    api_key_env: str = Field(default=DEFAULT_KEY_ENV, min_length=1, exclude=True)
    price_in: float | None = Field(default=None, ge=0, exclude=True)
    price_out: float | None = Field(default=None, ge=0, exclude=True)
    budget_usd: float | None = Field(default=None, ge=0, exclude=True)
    budget_tokens: int | None = Field(default=None, ge=0, exclude=True)
    requests_per_minute: float | None = Field(default=None, gt=0, exclude=True)
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

    @model_validator(mode="after")
    def _one_place(self) -> ChatOptions:
        if self.serve is None and not self.model:
            raise ValueError(
                "who judges? give `model`, its name at `endpoint`; or `serve`, a folder"
            )
        if self.serve is not None and (self.model or self.endpoint != OPENAI):
            raise ValueError("`serve` takes the place of `endpoint` and `model`: leave those out")
        if self.serve is None and (self.revision or "engine" in self.model_fields_set):
            raise ValueError("`revision` and `engine` go with `serve`")
        return self

    @model_validator(mode="after")
    def _a_price_for_a_budget(self) -> ChatOptions:
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("give both `price_in` and `price_out`, or neither")
        if self.budget_usd is not None and self.price_of() is None:
            raise ValueError(
                f"`budget_usd` needs a price, and evalkit's table has none of"
                f" '{self.model or self.serve}': give `price_in` and `price_out`, or"
                " `budget_tokens`"
            )
        return self

    def price_of(self) -> Price | None:
        """The recipe's price, else the table's; None where neither has one."""
        if self.price_in is not None and self.price_out is not None:
            return Price(self.price_in, self.price_out, "the recipe")
        if self.serve is not None:
            return None
        return known_price(self.model, ChatServer(self.endpoint, self.model).host)

    @field_serializer("endpoint")
    def _host_only(self, endpoint: str) -> str:
        return "served here" if self.serve else ChatServer(endpoint, self.model).host

    @field_serializer("serve")
    def _weights(self, serve: str | None) -> str | None:
        """By the digest of its weights: a name or a path says nothing of them."""
        if serve is None or not Path(serve).is_dir():
            return serve
        try:
            return weights_digest(serve)
        except EvalkitError:  # told by the checks
            return serve


def charged(verdict: Verdict, answer: ChatAnswer) -> Verdict:
    """The verdict with who answered and what the server counted for it."""
    usage = answer.usage or Usage(0, 0)
    return verdict._replace(by=answer.model, tokens_in=usage.tokens_in, tokens_out=usage.tokens_out)


class ChatJudge(Judge):
    """Asks its model through the one chat client; subclasses say what, and read the answers."""

    Options: ClassVar[type[Options]] = ChatOptions
    options: ChatOptions
    requires: ClassVar[tuple[tuple[str, str], ...]] = (("httpx", "eval"),)

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._served: ChatPlace | None = None
        self._accounts: Path | None = None
        self._ledger: Ledger | None = None

    def engine(self) -> PluginRef | None:
        return self.options.engine if self.options.serve is not None else None

    def prefetch(self) -> list[Prefetched]:
        """The model that is served here."""
        serve = self.options.serve
        return [] if serve is None else bring(serve, self.options.revision, EXAMPLE)

    def model_to_serve(self) -> Checkpoint:
        place = self._place()
        return Checkpoint(
            name=place.name,
            path=str(place.folder),
            digest=weights_digest(place.folder),
            precision=stored_dtype(config_of(place.folder)).removeprefix("torch."),
            revision=place.revision,
        )

    def ask_at(self, place: ChatPlace) -> None:
        self._served = place

    def weights_folder(self) -> Path | None:
        serve = self.options.serve
        return Path(serve) if serve is not None and Path(serve).is_dir() else None

    def who(self) -> dict[str, Any]:
        """The part of an identity that pins the model: no key, no address, no path."""
        if self.options.serve is None:
            return {"model": self.options.model, "endpoint": self._server.host}
        place = self._place()
        return {
            "model": place.name,
            **({"revision": place.revision} if place.revision else {}),
            "weights": weights_digest(place.folder),
            "endpoint": "served here",
        }

    def place_problems(self) -> list[Problem]:
        """A server that does not answer, or not for this model; a model that cannot be served."""
        if self.options.serve is not None:
            return [
                problem._replace(where="serve" if problem.where == "model" else problem.where)
                for problem in place_problems(
                    self.options.serve, self.options.revision, _check_servable
                )
            ]
        try:
            listed = listed_models(self._server)
        except EvalkitError as error:
            return [Problem.of("endpoint", error)]
        if listed and self.options.model not in listed:
            return [Problem.of("model", unknown_model(self._server, listed))]
        return []

    def answers(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, ChatAnswer]]:
        """Each answer with its request's index, as soon as it is there."""
        if self._ledger is None:
            options = self.options
            budget = Budget(options.budget_usd, options.budget_tokens)
            self._ledger = Ledger(self._server.payee, options.price_of(), budget, self._accounts)
        return ChatClient(self._server, self._ledger).answers(requests)

    def keep_accounts(self, file: Path) -> None:
        self._accounts, self._ledger = file, None

    def payee(self) -> str:
        """The model and its host; of one that is served here nobody is paid."""
        return "" if self.options.serve is not None else self._server.payee

    def cost_of(self, verdicts: Sequence[Verdict]) -> Cost | None:
        counted = [one for one in verdicts if one.tokens_in or one.tokens_out]
        return self._cost([Usage(one.tokens_in, one.tokens_out) for one in counted])

    def cost_about(self, requests: Sequence[ChatRequest]) -> Cost:
        """What these requests would cost, about: answers are taken to be as long as they may be."""
        return self._cost([about(request.messages, request.body) for request in requests])

    def budget_problems(self, *bodies: Mapping[str, Any]) -> list[Problem]:
        """Requests whose answers nothing bounds, which cannot be kept within a budget."""
        options = self.options
        given = [
            key for key in ("budget_usd", "budget_tokens") if getattr(options, key) is not None
        ]
        if not given or all(at_most((), body) for body in bodies):
            return []
        hint = "bound them with max_tokens or max_completion_tokens, in `extra_body`"
        return [Problem(given[0], "no budget can be kept: answers may be of any length", hint)]

    def _cost(self, usages: Sequence[Usage]) -> Cost:
        usage = Usage(sum(one.tokens_in for one in usages), sum(one.tokens_out for one in usages))
        price = self.options.price_of()
        if price is None:
            return Cost(len(usages), *usage, None)
        return Cost(len(usages), *usage, price.usd(usage), price.source)

    def with_extra(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request's fields with the user's own over them."""
        whole = {**body, **self.options.extra_body}
        return {key: value for key, value in whole.items() if value is not None}

    def _place(self) -> Place:
        assert self.options.serve is not None
        return find_place(self.options.serve, self.options.revision, EXAMPLE)

    @property
    def _server(self) -> ChatServer:
        options, served = self.options, self._served
        if options.serve is not None and served is None:
            raise JudgeError(
                "the model of this judge is not served", "it is served within a run of evalkit"
            )
        return ChatServer(
            endpoint=_HERE if served else options.endpoint,
            model=served.model if served else options.model,
            key_env=options.api_key_env,
            concurrency=options.concurrency,
            timeout_s=options.timeout_s,
            attempts=options.attempts,
            backoff_s=options.backoff_s,
            requests_per_minute=options.requests_per_minute,
            socket_path=served.socket_path if served else "",
            answers_as=options.answers_as or "",
        )


def _check_servable(folder: Path) -> None:
    """Raises RecipeError unless a folder holds a whole checkpoint that can be asked in chat."""
    check_folder(folder)
    if not getattr(load_tokenizer(folder), "chat_template", None):
        raise RecipeError(
            f"{folder} has no chat template, without which no model can be asked in chat",
            "serve an instruction-tuned model",
        )
