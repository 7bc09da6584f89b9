"""A journal of finished batches inside a long step: a kill loses at most one batch.

Answers are kept under the digest of what was asked. The journal lies in the
step's own folder, which is bound to the step's fingerprint and so to the
weights: no other model's answer can ever be served from it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from evalkit.console import say
from evalkit.fingerprint import fingerprint
from evalkit.records import dumps


class Journal:
    """Answers by question, a JSON line per batch; a line that a kill cut off is dropped."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._answers = self._read()

    def key(self, question: Any) -> str:
        """The digest under which the answer to `question` (records or JSON values) is kept."""
        return fingerprint(question)

    def get(self, key: str) -> Any | None:
        """The answer kept under `key` as JSON values, None if there is none."""
        return self._answers.get(key)

    def put(self, key: str, answer: Any) -> Any:
        """Keeps an answer durably; returns it as JSON values, as `get` will give it."""
        line = dumps({"key": key, "answer": answer})
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._answers[key] = json.loads(line)["answer"]
        return self._answers[key]

    def _read(self) -> dict[str, Any]:
        if not self._file.exists():
            return {}
        content = self._file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self._file, len(whole))
        answers, damaged = {}, 0
        for line in whole.splitlines():
            try:
                entry = json.loads(line)
                answers[entry["key"]] = entry["answer"]
            except (ValueError, TypeError, KeyError):
                damaged += 1  # a disk's doing, not a kill's: its batch is simply computed again
        if damaged:
            say(f"note: {self._file} has {damaged} damaged lines: their batches are made again")
        return answers
