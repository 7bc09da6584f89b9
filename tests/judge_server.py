"""A scripted judge behind a real HTTP server that speaks the OpenAI chat-completions protocol.

Its answers follow from what it is asked alone. A plan of faults says what happens to the
first requests instead; every request is recorded, and answers are counted by content.
"""

import hashlib
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted-judge"
KEY = "sk-scripted"
FAULTS = (
    "429",
    "429 at once",
    "500",
    "503",
    "slow",
    "truncated",
    "no json",
    "no choices",
    "cut",
    "cut midway",
    "wrong model",
    "no logprobs",
)
# Of these, the ones that a maker would charge for all the same, whether or not it says how much.
CHARGED = frozenset(
    ("slow", "truncated", "no choices", "cut", "cut midway", "wrong model", "no logprobs")
)
Script = Callable[[dict[str, Any]], dict[str, Any]]


def number(text: str) -> int:
    """A number that follows from a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def logprobs_of(prompt: str) -> tuple[float, float]:
    """The log-probabilities of `m` and `M` that the script gives for a prompt."""
    first = 0.02 + 0.94 * (number(prompt) % 1000) / 1000
    return math.log(first), math.log(0.97 - first)


def rating_of(prompt: str) -> int:
    """The rating, 1 to 10, that the script gives for a prompt."""
    return 1 + number(prompt) % 10


def script(body: dict[str, Any]) -> dict[str, Any]:
    """A judge's answer: `m` or `M` where log-probabilities are asked for, else a rating."""
    prompt = body["messages"][-1]["content"]
    if not body.get("logprobs"):
        return choice(f"It is an answer.\n\nRating: [[{rating_of(prompt)}]]")
    first, second = logprobs_of(prompt)
    return choice("m" if first > second else "M", {"m": first, "M": second, "The": -9.5})


def usage_of(body: dict[str, Any]) -> dict[str, int]:
    """The tokens that the server counts for a request: they follow from what is asked."""
    size = sum(len(turn["content"].encode()) for turn in body["messages"])
    tokens_in, tokens_out = 7 + size // 5, 1 if body.get("logprobs") else 9
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }


def choice(text: str | None, logprobs: dict[str, float] | None = None, **message: Any) -> Any:
    """A choice of a chat completion."""
    made: dict[str, Any] = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text, **message},
        "logprobs": None,
    }
    if logprobs is not None:
        rows = [{"token": token, "logprob": value} for token, value in logprobs.items()]
        rows.sort(key=lambda row: -float(str(row["logprob"])))
        made["logprobs"] = {"content": [{**rows[0], "top_logprobs": rows}]}
    return made


class JudgeServer(ThreadingHTTPServer):
    """The server.

    faults: what happens to the first requests, one each, in the order they arrive; `always` to
        every further one. One of `FAULTS`, an HTTP status as a number, or None for an answer.
    key: the key it wants, if any.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        script: Script = script,
        faults: Sequence[str | int | None] = (),
        always: str | int | None = None,
        key: str | None = None,
        models: Sequence[str] | None = (MODEL,),
        delay_s: float = 0.0,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.faults, self.always = script, list(faults), always
        self.key, self.models, self.delay_s = key, models, delay_s
        self.lock = threading.Lock()
        self.bodies: list[dict[str, Any]] = []  # of every request, in order of arrival
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.answered: Counter[str] = Counter()  # by prompt: how often it got an answer
        self.charged: Counter[str] = Counter()  # likewise, faults that cost tokens included
        self.charged_tokens = [0, 0]  # in and out
        self.at_once = self.most_at_once = 0
        self.released = threading.Event()  # of requests that hang, when the server ends

    @property
    def url(self) -> str:
        """The endpoint for a client."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def next_fault(self) -> str | int | None:
        """What is to happen to the request that has just arrived."""
        return self.faults.pop(0) if self.faults else self.always

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error here."""


@contextmanager
def served(**options: Any) -> Iterator[JudgeServer]:
    """A running server."""
    server = JudgeServer(**options)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps quiet."""

    def do_GET(self) -> None:
        if self._is_refused():
            return
        if self.path != "/v1/models" or self.server.models is None:
            self._error(404, "not found")
        else:
            self._json({"object": "list", "data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.bodies.append(body)
            server.headers.append(dict(self.headers.items()))
            server.times.append(time.monotonic())
            fault = server.next_fault()
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            if not self._is_refused():
                self._serve(body, fault)
        finally:
            with server.lock:
                server.at_once -= 1

    def _serve(self, body: dict[str, Any], fault: str | int | None) -> None:
        if fault == "no logprobs" and not body.get("logprobs"):
            fault = None  # none were asked for
        if self.path != "/v1/chat/completions":
            self._error(404, f"no {self.path}")
        elif self.server.models is not None and body["model"] not in self.server.models:
            self._error(404, f"The model `{body['model']}` does not exist", "model_not_found")
        elif isinstance(fault, int):
            self._error(fault, f"scripted {fault}")
        elif fault is not None:
            self._fail(fault, body)
        else:
            time.sleep(self.server.delay_s)
            with self.server.lock:
                self.server.answered[body["messages"][-1]["content"]] += 1
            self._charge(body)
            self._json(_completion(self.server.script(body), body))

    def _charge(self, body: dict[str, Any]) -> None:
        usage = usage_of(body)
        with self.server.lock:
            self.server.charged[body["messages"][-1]["content"]] += 1
            self.server.charged_tokens[0] += usage["prompt_tokens"]
            self.server.charged_tokens[1] += usage["completion_tokens"]

    def _fail(self, fault: str, body: dict[str, Any]) -> None:
        made = _completion(self.server.script(body), body)
        whole = json.dumps(made).encode()
        if fault in CHARGED:
            self._charge(body)
        if fault == "429":
            self._error(429, "rate limit", headers={"Retry-After": "0.3"})
        elif fault == "429 at once":
            self._error(429, "rate limit")
        elif fault == "quota":
            self._error(429, "You exceeded your current quota", "insufficient_quota")
        elif fault == "tomorrow":
            self._error(429, "daily limit", headers={"Retry-After": "86400"})
        elif fault == "down until tomorrow":
            self._error(503, "maintenance", headers={"Retry-After": "86400"})
        elif fault in ("500", "503"):
            self._send(int(fault), b"upstream trouble", {"Content-Type": "text/plain"})
        elif fault == "slow":
            time.sleep(1.0)
            self.close_connection = True
        elif fault == "truncated":
            self._send(200, whole[: len(whole) // 2], {"Content-Type": "application/json"})
        elif fault == "no json":
            self._send(200, b"<html>a proxy's page</html>", {"Content-Type": "text/html"})
        elif fault == "no choices":
            self._json({**made, "choices": []})
        elif fault == "wrong model":
            self._json({**made, "model": "another-judge"})
        elif fault == "no logprobs":
            self._json({**made, "choices": [{**made["choices"][0], "logprobs": None}]})
        elif fault == "hang":
            self.server.released.wait()
            self.close_connection = True
        elif fault == "cut":
            self.close_connection = True
        elif fault == "cut midway":
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole[:20])
            self.close_connection = True
        else:
            raise ValueError(fault)

    def _is_refused(self) -> bool:
        if self.server.key is None:
            return False
        given = self.headers.get("Authorization")
        if given == f"Bearer {self.server.key}":
            return False
        self._error(401, "Incorrect API key provided" if given else "You need an API key")
        return True

    def _error(
        self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None
    ) -> None:
        content = json.dumps({"error": {"message": message, "code": code or None}}).encode()
        self._send(status, content, {"Content-Type": "application/json", **(headers or {})})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _completion(choice: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [choice],
        "usage": usage_of(body),
    }
