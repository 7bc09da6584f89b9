"""A vLLM server that somebody else runs: it is asked, and never stopped."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.engines.vllm_client import Address, Call, RefusedError, Sampled, VllmClient
from evalkit.errors import PrerequisiteError, gist


class RunningServer:
    """The server at a URL, with the key that an environment variable holds, if it does."""

    def __init__(self, url: str, api_key_env: str, timeout_s: float) -> None:
        self._url = url
        key = os.environ.get(api_key_env, "").strip()
        self._client = VllmClient(Address(url, api_key=key), timeout_s)

    def complete(
        self, calls: Sequence[Call], weights: str, concurrency: int
    ) -> Iterator[tuple[int, list[Sampled]]]:
        """See `VllmClient.complete`; the server must serve the folder `weights`."""
        return self._client.complete(calls, self._name_of(weights), concurrency)

    def check(self) -> None:
        """Raises PrerequisiteError unless the server answers."""
        self._heard("/v1/models")

    def version(self) -> str:
        """Of its vLLM."""
        return str(self._heard("/version")["version"])

    def rest(self) -> None:
        """Nothing: its memory is not ours to free."""

    def stop(self) -> None:
        """Nothing: who started it will stop it."""

    def _name_of(self, weights: str) -> str:
        """The name under which it serves this very checkpoint."""
        rows = self._heard("/v1/models")["data"]
        served = {str(row["id"]): str(row.get("root") or row["id"]) for row in rows}
        for name, root in served.items():
            if Path(root).resolve() == Path(weights).resolve():
                return name
        raise PrerequisiteError(
            f"the vLLM server at {self._url} serves {', '.join(served.values()) or 'nothing'},"
            f" not {weights}",
            "leave `url` out, and evalkit starts a server for each checkpoint;"
            " or start one with this folder",
        )

    def _heard(self, path: str) -> Any:
        try:
            return self._client.ask("GET", path)
        except (OSError, http.client.HTTPException, RefusedError, ValueError) as error:
            raise PrerequisiteError(
                f"the vLLM server at {self._url} does not answer: {gist(error)}",
                "check that it runs, its address and its key; or leave `url` out, and evalkit"
                " starts one",
            ) from error
