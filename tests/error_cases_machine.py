"""What the machine lacks: packages, disk, memory, folders, ports, tokens, a Hub that answers."""

from __future__ import annotations

import fcntl
import http.server
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from error_cases import Case, Desk, closed_port
from hub_parts import start_server

Prepare = Callable[[Desk], None]
ENGINE = '''"""Asks for more memory than any machine has."""
import torch
from evalkit.engines.transformers import TransformersEngine

class Greedy(TransformersEngine):
    def generate(self, requests, sampling, progress):
        torch.empty(1 << 50)

PLUGIN = Greedy
'''


def _without(package: str) -> Prepare:
    """As if a package were not installed: `find_spec` and `import` then say so."""
    return lambda desk: desk.patch.setitem(sys.modules, package, None)  # type: ignore[arg-type]


def _small_disk(desk: Desk) -> None:
    """A real disk of half a megabyte at `small`."""
    small = desk.path / "small"
    small.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    desk.held.callback(subprocess.run, ["umount", "-l", str(small)], check=True)


def _disk_that_fills(desk: Desk) -> None:
    _small_disk(desk)
    desk.patch.setattr("evalkit.pipeline.preflight.MIN_FREE_BYTES", 0)


def _read_only_disk(desk: Desk) -> None:
    _small_disk(desk)
    words = ["mount", "-o", "remount,ro", str(desk.path / "small")]
    subprocess.run(words, check=True, capture_output=True)


def _file(name: str, content: str = "mine\n") -> Prepare:
    return lambda desk: desk.write(name, content) and None


def _run_locked(desk: Desk) -> None:
    lock = desk.held.enter_context(desk.write("run/.lock", "").open("w"))
    fcntl.flock(lock, fcntl.LOCK_EX)


# --- Hubs ---------------------------------------------------------------------------------------


def _remote(desk: Desk, endpoint: str, token: str | None, namespace: str = "evalkit") -> None:
    """Publishing to `endpoint` with a token, or with none anywhere."""
    desk.patch.delenv("HF_TOKEN", raising=False)
    desk.patch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(desk.path / "none"))
    if token is not None:
        desk.patch.setenv("HF_TOKEN", token)
    old = "publish: {namespace: me}"
    desk.spoil({old: f"publish: {{namespace: {namespace}, endpoint: '{endpoint}'}}"})


def _hub(token: str | None = "", namespace: str = "evalkit") -> Prepare:
    """A real Hub in a process of its own; `token` instead of the right one, if not empty."""

    def prepare(desk: Desk) -> None:
        folder = desk.path.with_name(f"{desk.path.name}-hub")
        process, endpoint, right = start_server(folder)
        desk.held.enter_context(process)
        desk.held.callback(process.terminate)
        _remote(desk, endpoint, right if token == "" else token, namespace)

    return prepare


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<html>Welcome!</html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _no_hub_there(desk: Desk) -> None:
    _remote(desk, desk.held.enter_context(_web_server()), "hf_" + "x" * 34)


def _port_taken(desk: Desk) -> None:
    taken = desk.held.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    desk.patch.setenv("PORT", str(taken.getsockname()[1]))


def _served_already(desk: Desk) -> None:
    process, _, _ = start_server(desk.path / "hub")
    desk.held.enter_context(process)
    desk.held.callback(process.terminate)


OUT = "train mine.yaml --out run"
PACKAGES = [
    Case("no-torch", "train mine.yaml", prepare=_without("torch")),
    Case("no-llmcompressor", "quantize mine.yaml", prepare=_without("llmcompressor")),
    Case("no-lm-eval", "evaluate mine.yaml", prepare=_without("lm_eval")),
    Case("no-huggingface-hub", prepare=_without("starlette")),
    Case(
        "no-tensorboard",
        "train mine.yaml --report-to tensorboard",
        prepare=_without("tensorboard"),
    ),
    Case("unknown-tracker", "train mine.yaml --report-to tensorbord", code=2),
    Case("no-server-packages", "hub serve", prepare=_without("uvicorn"), may_leave=("hub/*",)),
]
FOLDERS = [
    Case("out-is-a-file", OUT, prepare=_file("run"), code=2),
    Case("out-below-a-file", "train mine.yaml --out run/one", prepare=_file("run")),
    Case("out-is-somebody-elses", OUT, prepare=_file("run/thesis.tex")),
    Case("out-in-use", OUT, prepare=_run_locked),
    Case("out-on-a-read-only-disk", "train mine.yaml --out small/run", prepare=_read_only_disk),
    Case("disk-nearly-full", "train mine.yaml --out small/run", prepare=_small_disk),
    Case(
        "disk-full-on-the-way",
        "train mine.yaml --out small/run",
        {"{name: sppo, samples: 2}": "sft", "    judge: rule\n": ""},
        prepare=_disk_that_fills,
        may_leave=("small/run/*",),
    ),
    Case(
        "memory-exhausted",
        OUT,
        {"seed: 3": "seed: 3\nengine: ./greedy.py"},
        prepare=_file("greedy.py", ENGINE),
        may_leave=("run/*",),
    ),
]
HUBS = [
    Case("no-token", prepare=lambda desk: _remote(desk, closed_port(), None)),
    Case("hub-unreachable", prepare=lambda desk: _remote(desk, closed_port(), "hf_" + "x" * 34)),
    Case("hub-is-a-web-page", prepare=_no_hub_there),
    Case("wrong-token", prepare=_hub("hf_" + "x" * 34)),
    Case("token-of-somebody-else", prepare=_hub(namespace="google")),
    Case("name-too-long-with-suffix", edits={"name: Plain": "name: " + "x" * 90}),
    Case("name-ends-with-a-dash", edits={"name: Plain": "name: Plain-"}),
    Case("hub-port-taken", "hub serve --port $PORT", prepare=_port_taken, may_leave=("hub/*",)),
    Case("hub-port-no-number", "hub serve --port http", code=2),
    Case("hub-served-already", "hub serve", prepare=_served_already, may_leave=("hub/*",)),
    Case("hub-root-is-a-file", "hub serve", prepare=_file("hub"), code=2),
    Case("hub-root-of-something-else", "hub serve", prepare=_file("hub/thesis.tex")),
    Case(
        "hub-tokens-damaged",
        "hub token",
        prepare=_file("hub/tokens.json", '{"secret": "a'),
        may_leave=("hub/.tokens.json.lock",),
    ),
    Case("token-for-an-impossible-user", "hub token --user 'me and you'"),
]
CASES = [*PACKAGES, *FOLDERS, *HUBS]
