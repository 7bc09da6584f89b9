"""Sends many chat requests at once, waits out what passes, and stops at what does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.chat_client.answer import ChatAnswer, MalformedError, parse
from evalkit.chat_client.ledger import Ledger
from evalkit.chat_client.pacing import Pacing
from evalkit.chat_client.server import (
    ChatServer,
    error_code,
    listed_models,
    said,
    unauthorised,
    unknown_model,
    unreachable,
)
from evalkit.chat_client.usage import Usage, at_most
from evalkit.errors import EvalkitError, JudgeError, PrerequisiteError
from evalkit.records import Message

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 10.0
MAX_WAIT_S = 300.0  # that a server may ask for; a daily quota is not waited for
# A request that always fails is given up; after so many times its attempts, in a row, it is the
# server that fails. One that refuses the very first requests refuses what they have in common.
GIVEN_UP_IN_A_ROW = 3
REFUSED_AT_FIRST = 5
KEPT = "what it has answered is kept, so run the same command again"


class ChatRequest(NamedTuple):
    """One conversation to continue; `body` holds the request's other fields (`temperature`...).

    wants_logprobs: whether an answer without log-probabilities is none, and asked for again.
    """

    messages: tuple[Message, ...]
    body: Mapping[str, Any]
    wants_logprobs: bool = False


class PassingError(Exception):
    """An attempt that failed, as another may not.

    of_server: every request would have failed, not only this one.
    wait_s: how long the server asks to be left alone.
    is_free: the server did not get it, or answered with an error, which nobody charges for.
    usage: what the server counted for it, where it is not free; None where it does not say.
    """

    def __init__(
        self,
        reason: str,
        of_server: Exception | None = None,
        wait_s: float | None = None,
        is_free: bool = False,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason, self.of_server, self.wait_s = reason, of_server, wait_s
        self.is_free, self.usage = is_free, usage


class RefusedError(Exception):
    """A request that this server will not take, however often it is sent."""


class ChatClient:
    """Asks one server. ledger: where its cost is written down, and kept within a budget."""

    def __init__(self, server: ChatServer, ledger: Ledger | None = None) -> None:
        self._server, self._ledger = server, ledger or Ledger(server.payee)

    def answers(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, ChatAnswer]]:
        """Each answer with its request's index, as soon as it is there, in no fixed order.

        Before an error is raised, the answers to requests already sent are awaited and given:
        who keeps each as it comes has paid for none in vain.

        Raises:
            PrerequisiteError: the server cannot be reached, wants another key, does not know the
                model, keeps failing, or failed at the last requests and answered none after them;
                or the next request might exceed the budget.
            JudgeError: it refuses the first few requests, whatever they are.
        """
        if requests:
            yield from _Work(self._server, requests, self._ledger).answers()


class _Work:
    """A list of requests under way: threads that take from it, and a queue of what comes back."""

    def __init__(self, server: ChatServer, requests: Sequence[ChatRequest], ledger: Ledger) -> None:
        self._server, self._requests, self._ledger = server, requests, ledger
        self._pacing = Pacing(server.backoff_s, server.requests_per_minute)
        self._lock = threading.Lock()
        self._indices = iter(range(len(requests)))
        self._results: SimpleQueue[tuple[int, ChatAnswer] | Exception | None] = SimpleQueue()
        self._answered = False
        # Held back until another request is answered: then it was the request, not the server.
        self._given_up: list[tuple[int, ChatAnswer]] = []
        self._refused: list[tuple[int, ChatAnswer]] = []

    def answers(self) -> Iterator[tuple[int, ChatAnswer]]:
        import httpx

        count = min(self._server.concurrency, len(self._requests))
        timeout_s = self._server.timeout_s
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        client = self._server.client(timeout, connections=count)
        for _ in range(count):
            # A daemon: after Ctrl-C nobody waits for a slow server.
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()
        try:
            yield from self._collected(count)
        finally:
            self._pacing.stop()
            client.close()

    def _collected(self, threads: int) -> Iterator[tuple[int, ChatAnswer]]:
        errors = []
        while threads:
            result = self._results.get()
            if result is None:
                threads -= 1
            elif isinstance(result, Exception):
                errors.append(result)
            else:
                yield result
        if errors:
            raise errors[0]
        if self._given_up:
            raise self._failed_at_last()
        yield from self._refused

    def _serve(self, client: httpx.Client) -> None:
        """One thread: takes request after request until none is left or the work is stopped."""
        try:
            while (index := self._take()) is not None:
                answer = self._answer(client, index)
                if answer is not None:
                    self._results.put((index, answer))
                    self._release_held()
        except Exception as error:  # of any kind: it is raised again in the caller's thread
            self._pacing.stop()
            self._results.put(error)
        finally:
            self._results.put(None)

    def _take(self) -> int | None:
        with self._lock:
            return None if self._pacing.stopped else next(self._indices, None)

    def _release_held(self) -> None:
        """Counts as missing what was given up or refused: the server answers others."""
        with self._lock:
            self._answered = True
            held = self._given_up + self._refused
            self._given_up, self._refused = [], []
        for result in held:
            self._results.put(result)

    def _answer(self, client: httpx.Client, index: int) -> ChatAnswer | None:
        """The answer after as many attempts as it takes; None if held back, or all is stopped."""
        attempts = 0
        while True:
            with self._pacing.turn() as may_send:
                if not may_send:
                    return None
                try:
                    answer = self._attempt(client, self._requests[index])
                except RefusedError as error:
                    self._pacing.succeeded()
                    self._hold_refused(index, str(error))
                    return None
                except PassingError as error:
                    attempts += error.of_server is None
                    self._stop_if_hopeless(error, self._pacing.failed(error.wait_s))
                    if attempts == self._server.attempts:
                        reason = f"given up after {attempts} attempts: {error.reason}"
                        with self._lock:
                            self._given_up.append((index, ChatAnswer(None, reason=reason)))
                        return None
                else:
                    self._pacing.succeeded()
                    return answer

    def _hold_refused(self, index: int, said: str) -> None:
        reason = f"the server refused the request: {said}"
        with self._lock:
            self._refused.append((index, ChatAnswer(None, reason=reason)))
            hopeless = not self._answered and len(self._refused) >= REFUSED_AT_FIRST
        if hopeless:
            raise JudgeError(
                f"the model server at {self._server.url} refused the first {REFUSED_AT_FIRST} "
                f"requests: {said}",
                "change what it objects to: the model, or fields of the request (`extra_body`)",
            )

    def _stop_if_hopeless(self, error: PassingError, in_a_row: int) -> None:
        limit = self._server.attempts
        if error.of_server is not None and in_a_row >= limit:
            raise error.of_server from error
        if in_a_row >= limit * GIVEN_UP_IN_A_ROW:
            raise PrerequisiteError(
                f"the model server at {self._server.url} failed {in_a_row} times in a row: "
                f"{error.reason}",
                f"look at the server's log; {KEPT} when it works",
            ) from error

    def _failed_at_last(self) -> PrerequisiteError:
        """Nothing was answered since: whether the server failed or the requests, nobody knows."""
        count = len(self._given_up)
        return PrerequisiteError(
            f"the model server at {self._server.url} gave no answer to the last "
            f"{'request' if count == 1 else f'{count} requests'}: {self._given_up[0][1].reason}",
            f"look at the server's log; {KEPT} when it works; if it works and fails at these "
            "alone, give them more time (`timeout_s`) or the server more room",
        )

    def _attempt(self, client: httpx.Client, request: ChatRequest) -> ChatAnswer | None:
        """One attempt, entered in the ledger; None if all was stopped before it was sent."""
        bound = at_most(request.messages, request.body)
        entry = self._ledger.open(bound, lambda: self._pacing.stopped)
        if entry is None:
            return None
        try:
            answer = _read(self._server, request, self._post(client, request))
        except PassingError as error:
            if error.is_free:
                self._ledger.cancel(entry)
            else:
                self._ledger.close(entry, error.usage)
            raise
        except (RefusedError, EvalkitError):
            self._ledger.cancel(entry)  # the server turned it down
            raise
        except BaseException:
            self._ledger.close(entry, None)  # whatever went wrong here, it may have been charged
            raise
        self._ledger.close(entry, answer.usage)
        return answer

    def _post(self, client: httpx.Client, request: ChatRequest) -> httpx.Response:
        import httpx

        server = self._server
        body = {
            "model": server.model,
            "messages": [{"role": one.role, "content": one.content} for one in request.messages],
            **request.body,
        }
        try:
            return client.post(f"{server.url}/chat/completions", json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise PassingError(
                str(error), of_server=unreachable(server, error), is_free=True
            ) from error
        except httpx.TimeoutException as error:
            raise PassingError(f"no answer within {server.timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise PassingError(f"the connection was cut: {error}") from error


def _read(server: ChatServer, request: ChatRequest, response: httpx.Response) -> ChatAnswer:
    status = response.status_code
    if status >= 500 or status in (408, 409, 425, 429):
        raise _passing(server, response)
    if not response.is_success:
        raise _refusal(server, response)
    try:
        answer = parse(response.content)
    except MalformedError as error:
        raise PassingError(str(error), usage=error.usage) from error
    if not server.is_meant(answer.model):
        asked = server.answers_as or server.model
        reason = f"'{answer.model}' answered, not '{asked}' (see the option `answers_as`)"
        raise PassingError(reason, usage=answer.usage)
    if request.wants_logprobs and answer.text is not None and answer.logprobs is None:
        reason = "the answer has no log-probabilities (see the option `logprobs`)"
        raise PassingError(reason, usage=answer.usage)
    return answer


def _refusal(server: ChatServer, response: httpx.Response) -> Exception:
    status = response.status_code
    if status in (401, 403):
        return unauthorised(server, response)
    if status == 402:
        return _no_credit(server, response)
    if status in (404, 405):
        return _not_found(server, response)
    return RefusedError(said(response))


def _passing(server: ChatServer, response: httpx.Response) -> Exception:
    """What may pass, unless credit is out or the server asks for a longer wait than is kept to."""
    if error_code(response) == "insufficient_quota":
        return _no_credit(server, response)
    limited, wait_s = response.status_code == 429, _retry_after_s(response)
    patience = PrerequisiteError(
        f"the model server at {server.url} {'is over its rate limit' if limited else 'fails'} "
        f"({said(response)})" + (f" and asks to wait {wait_s:.0f} s" if wait_s else ""),
        f"{'lower `concurrency`, or ' if limited else ''}wait; {KEPT}",
    )
    if wait_s is not None and wait_s > MAX_WAIT_S:
        return patience
    of_server = patience if limited else None
    return PassingError(said(response), of_server=of_server, wait_s=wait_s, is_free=True)


def _no_credit(server: ChatServer, response: httpx.Response) -> PrerequisiteError:
    return PrerequisiteError(
        f"the account of the key in {server.key_env} has no credit left ({said(response)})",
        "add credit; what was answered is kept, so run the same command again",
    )


def _not_found(server: ChatServer, response: httpx.Response) -> PrerequisiteError:
    listed = listed_models(server)
    if server.model not in listed and (listed or "model" in said(response).lower()):
        return unknown_model(server, listed)
    return PrerequisiteError(
        f"there are no chat completions at {server.url}/chat/completions ({said(response)})",
        "give the address up to and with /v1",
    )


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait.

    Source: RFC 9110, section 10.2.3: a number of seconds, or a date.
    """
    value = response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
