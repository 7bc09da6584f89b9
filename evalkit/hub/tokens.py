"""Who may do what on an embedded Hub: `tokens.json` in its folder, readable by its owner only."""

import hmac
import secrets
import string
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.durable import locked, read_json, write_json
from evalkit.hub.refused import RefusedError

_LETTERS = string.ascii_letters + string.digits
_UPLOAD_SECONDS = 24 * 3600


class User(NamedTuple):
    """A user and the organisations whose repositories they may also write."""

    name: str
    orgs: tuple[str, ...] = ()

    def may_write(self, namespace: str) -> bool:
        """Whether repositories of `namespace` are theirs."""
        return namespace == self.name or namespace in self.orgs


class Tokens:
    """The users of one Hub folder. The file is read again when it changes, so that a running
    server knows a token that another process has just made."""

    def __init__(self, root: Path) -> None:
        self._file = root / "tokens.json"
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._users: dict[str, User] = {}
        self._secret = b""

    def user_of(self, token: str) -> User:
        """The user whom `token` names.

        Raises:
            RefusedError: nobody has it (status 401).
        """
        self._reload()
        for known, user in self._users.items():
            if hmac.compare_digest(known.encode(), token.encode()):
                return user
        raise RefusedError(401, "Invalid username or password.")

    def token_of(self, name: str, orgs: Sequence[str] = ()) -> str:
        """A token of user `name`, made when there is none; `orgs` are added to theirs."""
        with locked(self._file):
            value = self._read()
            for token, entry in value["tokens"].items():
                if entry["user"] == name:
                    missing = sorted(set(orgs) - set(entry["orgs"]))
                    if missing:
                        entry["orgs"] = sorted([*entry["orgs"], *missing])
                        write_json(self._file, value, mode=0o600)
                    return str(token)
            # The public Hub's own form, so that secret scanners know it when it leaks.
            token = "hf_" + "".join(secrets.choice(_LETTERS) for _ in range(34))
            value["tokens"][token] = {"user": name, "orgs": sorted(orgs)}
            write_json(self._file, value, mode=0o600)
            return token

    def sign_upload(self, sha256: str, size_bytes: int) -> str:
        """Query of an upload address: clients send LFS contents without their token."""
        expires = int(time.time()) + _UPLOAD_SECONDS
        return f"size={size_bytes}&expires={expires}&sig={self._mac(sha256, size_bytes, expires)}"

    def check_upload(self, sha256: str, size_bytes: int, expires: int, signature: str) -> None:
        """Accepts what `sign_upload` signed.

        Raises:
            RefusedError: forged or too old (status 403).
        """
        good = hmac.compare_digest(self._mac(sha256, size_bytes, expires), signature)
        if not good or time.time() > expires:
            raise RefusedError(403, "the upload address is not valid, or no longer")

    def _mac(self, sha256: str, size_bytes: int, expires: int) -> str:
        self._reload()
        message = f"{sha256}:{size_bytes}:{expires}".encode()
        return hmac.new(self._secret, message, "sha256").hexdigest()

    def _read(self) -> dict[str, Any]:
        """The whole file; the caller holds its lock."""
        value: dict[str, Any] | None = read_json(self._file)
        if value is None:
            value = {"secret": secrets.token_hex(32), "tokens": {}}
            write_json(self._file, value, mode=0o600)
        return value

    def _reload(self) -> None:
        with self._lock:
            mark = self._mark()
            if mark is not None and mark == self._seen:
                return
            with locked(self._file):
                value = self._read()
                self._seen = self._mark()
            self._secret = bytes.fromhex(value["secret"])
            self._users = {
                token: User(entry["user"], tuple(entry["orgs"]))
                for token, entry in value["tokens"].items()
            }

    def _mark(self) -> tuple[int, int] | None:
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_ino
