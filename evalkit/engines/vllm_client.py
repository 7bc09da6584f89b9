"""Asks a vLLM server for completions of token ids, many at once.

Threads with one plain connection each: over hundreds of them a connection pool costs more time
than the requests. A server that evalkit started listens on a Unix socket, which is its alone.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from queue import SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from evalkit.errors import EvalkitError, PrerequisiteError, ScoreError, gist

CONNECT_TIMEOUT_S = 10.0
ATTEMPTS = 3  # of a request whose connection broke, as long as the server lives


class Address(NamedTuple):
    """Where a server listens: at a URL (without `/v1`), or on a Unix socket; and its key."""

    url: str = ""
    socket_path: str = ""
    api_key: str = ""

    def connection(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that opens when it is first used."""
        if self.socket_path:
            return _UnixConnection(self.socket_path, timeout_s)
        parts = urlsplit(self.url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        return kind(parts.hostname or "", parts.port, timeout=timeout_s)


class Call(NamedTuple):
    """One request: a prompt, and the fields of `SamplingParams` by name, `n` among them."""

    prompt_token_ids: tuple[int, ...]
    sampling: Mapping[str, Any]


class Sampled(NamedTuple):
    """One continuation: its token ids, the closing one included, and vLLM's finish reason."""

    token_ids: tuple[int, ...]
    finish_reason: str


class RefusedError(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"HTTP {status}: {said}")
        self.status = status


class VllmClient:
    """One server.

    explain: turns a connection that broke into the error to raise, where the server is gone.
    """

    def __init__(
        self,
        address: Address,
        timeout_s: float,
        explain: Callable[[], EvalkitError | None] = lambda: None,
    ) -> None:
        self._address, self._timeout_s, self._explain = address, timeout_s, explain

    def ask(
        self, method: str, path: str, body: Any = None, timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Any:
        """One request on a connection of its own; the answer as JSON, None if it is empty.

        Raises:
            RefusedError: the server answered with an error.
            OSError, http.client.HTTPException: it did not answer.
        """
        with closing(self._address.connection(timeout_s)) as connection:
            return self._exchange(connection, method, path, body)

    def complete(
        self, calls: Sequence[Call], model: str, concurrency: int
    ) -> Iterator[tuple[int, list[Sampled]]]:
        """The continuations of each call with its index, as soon as they are there.

        Calls are sent in their order, `concurrency` at a time.

        Raises:
            PrerequisiteError: the server died, or does not answer.
            ScoreError: it refuses a call.
        """
        results: SimpleQueue[tuple[int, list[Sampled]] | BaseException | None] = SimpleQueue()
        indices, lock, stopped = iter(range(len(calls))), threading.Lock(), threading.Event()

        def work() -> None:
            try:
                with closing(self._address.connection(self._timeout_s)) as connection:
                    while not stopped.is_set():
                        with lock:
                            index = next(indices, None)
                        if index is None:
                            break
                        results.put((index, self._completed(connection, calls[index], model)))
            except BaseException as error:  # of any kind: it is raised again in the caller's thread
                results.put(error)
            finally:
                results.put(None)

        threads = min(concurrency, len(calls))
        for _ in range(threads):
            # A daemon: after Ctrl-C nobody waits for a slow server.
            threading.Thread(target=work, daemon=True).start()
        try:
            while threads:
                result = results.get()
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    threads -= 1
                else:
                    yield result
        finally:
            stopped.set()

    def _completed(
        self, connection: http.client.HTTPConnection, call: Call, model: str
    ) -> list[Sampled]:
        """Source: vLLM's OpenAI-compatible server, `/v1/completions`, `return_token_ids`."""
        body = {
            "model": model,
            "prompt": call.prompt_token_ids,
            "add_special_tokens": False,
            "return_token_ids": True,
            **call.sampling,
        }
        answer = self._persistent(connection, body)
        choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
        if any(choice.get("token_ids") is None for choice in choices):
            raise PrerequisiteError(
                "the vLLM server returns no token ids",
                "a newer vLLM does: its `return_token_ids` is needed",
            )
        return [Sampled(tuple(one["token_ids"]), str(one["finish_reason"])) for one in choices]

    def _persistent(self, connection: http.client.HTTPConnection, body: Any) -> Any:
        """The answer after as many attempts as it takes: a seed makes the same of each."""
        for _ in range(ATTEMPTS):
            try:
                return self._exchange(connection, "POST", "/v1/completions", body)
            except RefusedError as error:
                if error.status < 500:
                    raise ScoreError(f"the vLLM server refuses a request: {error}") from error
                reason: Exception = error
            except (OSError, http.client.HTTPException) as error:
                reason = error
            connection.close()  # it opens again by itself
            gone = self._explain()
            if gone is not None:
                raise gone from reason
        raise PrerequisiteError(
            f"the vLLM server failed {ATTEMPTS} times at a request: {gist(reason) or repr(reason)}",
            "look at the server's log; what it has answered is kept, so run the same command again",
        ) from reason

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any
    ) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._address.api_key:
            headers["Authorization"] = f"Bearer {self._address.api_key}"
        text = None if body is None else json.dumps(body)
        connection.request(method, urlsplit(self._address.url).path + path, text, headers)
        response = connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise RefusedError(response.status, _said(content))
        return json.loads(content) if content else None


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _said(content: bytes) -> str:
    """The message of an error's body: vLLM's is `error.message`, FastAPI's `detail`."""
    try:
        body = json.loads(content)
        message = (body.get("error") or {}).get("message") or body.get("detail") or body
    except (ValueError, AttributeError):
        message = content.decode("utf-8", "replace")
    return " ".join(str(message).split())[:300]
