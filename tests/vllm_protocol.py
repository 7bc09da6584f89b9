"""A server that speaks vLLM's protocol, for tests of what surrounds a vLLM: run as its Python.

It continues a prompt with its last token, plus one for each time that weights were reloaded.
Every request is written to the file that VLLM_PROTOCOL_LOG names.
"""

import argparse
import http.server
import json
import os
import socketserver
import sys
import threading
from pathlib import Path
from typing import Any

END = 1  # of `tiny_llama`


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as vLLM does, as far as evalkit asks."""

    protocol_version = "HTTP/1.1"
    model, root, api_key = "", "", ""
    reloads, asleep = 0, False
    refuse_reload = False
    broken = 0  # completions that fail before one succeeds

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *arguments: Any) -> None:
        """Nothing: stderr is the server's log."""

    def do_GET(self) -> None:
        answers = {
            "/health": {},
            "/version": {"version": "9.9"},
            "/v1/models": {"data": [{"id": self.model, "root": self.root}]},
        }
        self._answer(200 if self.path in answers else 404, answers.get(self.path, {}))

    def do_POST(self) -> None:
        kind = type(self)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        _note(self.path, body, self.headers.get("Authorization"))
        if self.path.startswith("/sleep"):
            kind.asleep = True
        elif self.path == "/wake_up":
            kind.asleep = False
        elif self.path == "/collective_rpc" and self.refuse_reload:
            return self._answer(500, {"error": {"message": "no such method"}})
        elif self.path == "/collective_rpc":
            kind.reloads += 1
        elif self.path == "/v1/completions":
            return self._complete(body)
        return self._answer(200, {})

    def _complete(self, body: Any) -> None:
        kind = type(self)
        if kind.broken:
            kind.broken -= 1
            return self._answer(500, {"error": {"message": "something broke"}})
        if self.asleep:
            return self._answer(500, {"error": {"message": "asleep"}})
        if body["prompt"] == [13]:
            os._exit(7)
        if 14 in body["prompt"]:
            return self._answer(400, {"error": {"message": "14 is refused"}})
        ids = [body["prompt"][-1] + self.reloads] * (body["max_tokens"] - 1) + [END]
        if 15 in body["prompt"] and body["stop"]:
            ids = []  # the token that completes the stop string is lost
        choice = {"finish_reason": "stop", "token_ids": ids}
        choices = [{**choice, "index": index} for index in reversed(range(body["n"]))]
        return self._answer(200, {"choices": choices})

    def _answer(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """HTTP on a Unix socket."""

    daemon_threads = True


def serve_http(root: str, **state: Any) -> http.server.ThreadingHTTPServer:
    """A server on a free port, in a thread of this process; `shutdown` ends it."""
    handler = type("Served", (Handler,), {"model": "served-name", "root": root, **state})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def write_python(folder: Path, distribution: str = "vllm") -> Path:
    """A `python` whose vLLM is this server."""
    file = folder / "python"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {distribution} "$@"\n')
    file.chmod(0o755)
    return file


def _note(path: str, body: Any, key: str | None) -> None:
    if file := os.environ.get("VLLM_PROTOCOL_LOG"):
        with Path(file).open("a") as stream:
            stream.write(json.dumps([path, body, key]) + "\n")


def main(distribution: str, words: list[str]) -> None:
    """What the interpreter is asked for: which vLLM it has, or to serve."""
    if words[0] == "-c":
        print(json.dumps([distribution, "9.9"]))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--uds")
    given, rest = parser.parse_known_args(words[2:])
    _note("start", {"model": given.model, "arguments": rest}, None)
    if "--fail" in rest:
        sys.exit("there is no memory left")
    Handler.refuse_reload = "--refuse-reload" in rest
    print("listening", flush=True)
    UnixServer(given.uds, Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
