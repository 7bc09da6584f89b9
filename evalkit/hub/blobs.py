"""Contents of files, each stored once under the sha256 of its bytes, whoever uses it."""

import hashlib
import os
import secrets
from pathlib import Path
from typing import BinaryIO

from evalkit.durable import move, sync_folder
from evalkit.hub.refused import RefusedError


class Blobs:
    """The folders `blobs/` (finished contents) and `incoming/` (uploads under way)."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._incoming = root / "incoming"
        for folder in (self._blobs, self._incoming):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the content with this digest lies, or will lie."""
        return self._blobs / sha256[:2] / sha256

    def size(self, sha256: str) -> int | None:
        """Size in bytes of a finished content; None when it is not here."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def put(self, content: bytes) -> str:
        """Stores a small content; its sha256."""
        upload = self.begin()
        try:
            upload.write(content)
            return upload.finish()
        finally:
            upload.discard()

    def begin(self) -> "Upload":
        """An upload to be written piece by piece."""
        return Upload(self, self._incoming / f"{secrets.token_hex(12)}.part")

    def sweep(self) -> None:
        """Removes uploads that a killed server left behind; nobody may be uploading."""
        for leftover in self._incoming.glob("*.part"):
            leftover.unlink(missing_ok=True)


class Upload:
    """One content on its way in; nobody sees it before `finish`, memory holds one piece of it."""

    def __init__(self, blobs: Blobs, draft: Path) -> None:
        self._blobs = blobs
        self._draft = draft
        self._stream: BinaryIO = draft.open("wb")
        self._digest = hashlib.sha256()
        self._size_bytes = 0

    def write(self, piece: bytes) -> None:
        """Appends a piece."""
        self._stream.write(piece)
        self._digest.update(piece)
        self._size_bytes += len(piece)

    def finish(self, sha256: str | None = None, size_bytes: int | None = None) -> str:
        """Makes the content visible; its sha256.

        Raises:
            RefusedError: it is not what was announced (status 400); nothing is kept.
        """
        actual = self._digest.hexdigest()
        if sha256 not in (None, actual) or size_bytes not in (None, self._size_bytes):
            raise RefusedError(
                400,
                f"the upload has {self._size_bytes} bytes and sha256 {actual}, not as announced",
            )
        final = self._blobs.path(actual)
        if final.exists():
            return actual
        self._stream.flush()
        os.fsync(self._stream.fileno())
        if not final.parent.exists():
            final.parent.mkdir(exist_ok=True)
            sync_folder(final.parent.parent)
        move(self._draft, final)
        return actual

    def discard(self) -> None:
        """Closes the upload and removes what was not finished."""
        self._stream.close()
        self._draft.unlink(missing_ok=True)
