"""Where a model is served, with which key; and what to say when it does not let itself be asked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evalkit.errors import PrerequisiteError, did_you_mean

if TYPE_CHECKING:
    import httpx

DEFAULT_KEY_ENV = "OPENAI_API_KEY"
_SNAPSHOT = re.compile(r"[-@:](\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{3,8}|latest)")  # after the alias
LISTING_TIMEOUT_S = 3.0
MODELS_SHOWN = 12
TEXT_SHOWN = 300


@dataclass(frozen=True)
class ChatServer:
    """A served model, and how patiently it is asked.

    endpoint: the address up to and with `/v1`.
    key_env: the environment variable that holds the API key; while it is unset, none is sent.
    timeout_s: how long the server may be silent.
    attempts: how often one request is sent at most, and how many failures in a row end it all.
    backoff_s: the first wait after a failure; it doubles with each further one.
    requests_per_minute: how many are sent at most, evenly spread; None is no limit.
    socket_path: the Unix socket that it listens on, in place of the endpoint's host and port.
    answers_as: the name that its answers bear where that is neither `model` nor a snapshot of it.
    """

    endpoint: str
    model: str
    key_env: str = DEFAULT_KEY_ENV
    concurrency: int = 8
    timeout_s: float = 120.0
    attempts: int = 6
    backoff_s: float = 1.0
    requests_per_minute: float | None = None
    socket_path: str = ""
    answers_as: str = ""

    @property
    def url(self) -> str:
        """The endpoint without a slash at its end."""
        return self.endpoint.rstrip("/")

    @property
    def host(self) -> str:
        """The host's name, `local` for this machine: no credentials, no port, no path."""
        name = urlsplit(self.endpoint).hostname or ""
        is_here = name in ("localhost", "0.0.0.0", "::1") or name.startswith("127.")
        return "local" if is_here else name

    @property
    def payee(self) -> str:
        """Whose answers are paid for, as accounts name it."""
        return f"{self.answers_as or self.model} at {self.host}"

    def is_meant(self, answered: str) -> bool:
        """Whether an answer that bears this model name is from the model that was asked.

        An alias is answered under its snapshot's name (`gpt-4o` as `gpt-4o-2024-08-06`), and some
        servers leave an organisation out or put one before it. Who does not say is believed.
        """
        asked, given = (_plain(name) for name in (self.answers_as or self.model, answered))
        return given in ("", asked) or bool(_SNAPSHOT.fullmatch(given.removeprefix(asked)))

    def client(self, timeout: httpx.Timeout | float, connections: int = 1) -> httpx.Client:
        """A client for at most so many connections at a time; who opens it closes it."""
        import httpx

        limits = httpx.Limits(max_connections=connections)
        if self.socket_path:
            transport = httpx.HTTPTransport(uds=self.socket_path, limits=limits)
            return httpx.Client(transport=transport, timeout=timeout)
        return httpx.Client(headers=self.headers(), limits=limits, timeout=timeout)

    def headers(self) -> dict[str, str]:
        """With the key, where there is one.

        Raises:
            PrerequisiteError: the variable holds what no key can be; it is not quoted.
        """
        key = os.environ.get(self.key_env, "").strip()
        if " " in key or not (key.isascii() and key.isprintable()):
            raise PrerequisiteError(
                f"the environment variable {self.key_env} holds no API key: there are blanks,"
                " control or non-ASCII characters in it",
                f"set {self.key_env} to the key alone",
            )
        return {"Authorization": f"Bearer {key}"} if key else {}


def _plain(name: str) -> str:
    return name.rsplit("/", 1)[-1].lower()


def listed_models(server: ChatServer) -> list[str]:
    """The models that the server lists, none where it lists none. Asked once, for 3 seconds.

    Raises:
        PrerequisiteError: it cannot be reached, or wants another key.
    """
    import httpx

    try:
        with server.client(LISTING_TIMEOUT_S) as client:
            response = client.get(f"{server.url}/models")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise unreachable(server, error) from error
    if response.status_code in (401, 403):
        raise unauthorised(server, response)
    try:
        rows = response.json()["data"] if response.is_success else []
        return [str(row["id"]) for row in rows]
    except (ValueError, KeyError, TypeError):
        return []  # few servers but OpenAI's own have to have this address


def unreachable(server: ChatServer, error: Exception) -> PrerequisiteError:
    """The error for a server that does not answer."""
    return PrerequisiteError(
        f"the model server at {server.url} cannot be reached: {error or type(error).__name__}",
        "check that it runs, its address and port, and the network",
    )


def unauthorised(server: ChatServer, response: httpx.Response) -> PrerequisiteError:
    """The error for a key that is missing or not accepted."""
    has_key = bool(os.environ.get(server.key_env, "").strip())
    state = "does not accept the key in" if has_key else "wants a key, and there is none in"
    return PrerequisiteError(
        f"the model server at {server.url} {state} {server.key_env} ({said(response)})",
        f"export {server.key_env}=..., or name another variable with `api_key_env`",
    )


def unknown_model(server: ChatServer, listed: Sequence[str]) -> PrerequisiteError:
    """The error for a model that the server does not have."""
    few = ", ".join(sorted(listed)[:MODELS_SHOWN])
    more = f", and {len(listed) - MODELS_SHOWN} more" if len(listed) > MODELS_SHOWN else ""
    near, _, known = did_you_mean(server.model, listed).partition("   (known:")
    return PrerequisiteError(
        f"the model server at {server.url} has no model '{server.model}'",
        f"{near}   (it lists: {few}{more})" if known else f"it lists: {few or 'none'}{more}",
    )


def said(response: httpx.Response) -> str:
    """Status and message of a response that is an error."""
    text = _message(response)
    return f"HTTP {response.status_code}" + (f": {text[:TEXT_SHOWN]}" if text else "")


def error_code(response: httpx.Response) -> str:
    """The machine-readable code of an error, empty where it has none."""
    error = _error(response)
    return str(error.get("code") or "") if isinstance(error, Mapping) else ""


def _message(response: httpx.Response) -> str:
    error = _error(response)
    message = error.get("message") if isinstance(error, Mapping) else error
    return " ".join(str(message or "").split())


def _error(response: httpx.Response) -> Any:
    try:
        body = response.json()
    except ValueError:
        return response.text
    # OpenAI nests it; vLLM has had it at the top; proxies say `detail`.
    return body.get("error") or body.get("detail") or body if isinstance(body, Mapping) else body
