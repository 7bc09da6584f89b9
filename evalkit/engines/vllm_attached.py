"""A vLLM server that another process of the same run has started, and will stop."""

from __future__ import annotations

import http.client

from evalkit.engines.vllm_client import Address, RefusedError, VllmClient
from evalkit.errors import PrerequisiteError, gist

SLOW_S = 600.0  # to sleep and to wake up
_UNHEARD = (OSError, http.client.HTTPException, RefusedError)


class AttachedServer:
    """It sleeps when this process takes it over, and again when it is given back.

    sleeps: whether it can; on a CPU it has nothing to give back.
    """

    def __init__(self, socket_path: str, sleeps: bool) -> None:
        self._socket_path, self._sleeps = socket_path, sleeps
        self._asleep = sleeps
        self._client = VllmClient(Address(socket_path=socket_path), SLOW_S)

    def chat_socket(self, weights: str) -> str:
        """The socket it listens on, once it is awake; it serves one checkpoint, which is meant.

        Raises:
            PrerequisiteError: it is gone.
        """
        try:
            if self._asleep:
                self._client.ask("POST", "/wake_up", timeout_s=SLOW_S)
                self._asleep = False
            self._client.ask("GET", "/health")
        except _UNHEARD as error:
            raise PrerequisiteError(
                f"the vLLM server of this run answers no more: {gist(error) or repr(error)}",
                "what it has answered is kept, so run the same command again: it starts another",
            ) from error
        return self._socket_path

    def rest(self) -> None:
        """Gives the GPU's memory back."""
        if self._sleeps and not self._asleep:
            self._client.ask("POST", "/sleep?level=1", timeout_s=SLOW_S)
            self._asleep = True

    def stop(self) -> None:
        """Gives it back as it was found: asleep."""
        self.rest()
