"""The way to a Hub: an unmodified `huggingface_hub` client, set up for the Hub it will talk to."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from evalkit.errors import PublishError, missing_extra
from evalkit.recipe import LOCAL_HUB

_PUBLIC_HOSTS = ("huggingface.co", "hf.co")
_LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class HubTarget:
    """Where to publish, and as whom.

    private: repositories stay private; otherwise they are made public last.
    recorded_as: what records call the Hub, `endpoint` if empty. An embedded Hub is `local`, for
        its address differs from run to run.
    """

    endpoint: str
    token: str = field(repr=False)
    private: bool = True
    recorded_as: str = ""

    @property
    def name(self) -> str:
        """What records call this Hub."""
        return self.recorded_as or self.endpoint

    def url(self, path: str) -> str:
        """Address of a repository for records; without a server's address for an embedded Hub."""
        return f"/{path}" if self.name == LOCAL_HUB else f"{self.endpoint}/{path}"


def token_for(endpoint: str) -> str:
    """The user's own token, from HF_TOKEN or the token file of `hf auth login`.

    Raises:
        PublishError: there is none.
    """
    try:
        from huggingface_hub import get_token
    except ImportError as error:
        raise missing_extra("huggingface_hub", "hub") from error
    token: str | None = get_token()
    if not token:
        raise PublishError(
            f"there is no token to publish to {endpoint} with",
            "run `hf auth login`, or set HF_TOKEN",
        )
    return token


def prepare_environment(endpoint: str) -> None:
    """Makes this process, and those it starts, able to upload to `endpoint`.

    The client sends large files through Xet whenever `hf_xet` is installed, asks no server whether
    it has Xet, and fails on those that have not: all but the public Hub. Its switch
    HF_HUB_DISABLE_XET is read once, when huggingface_hub is imported, and transformers has usually
    imported it long before anything is published. So the variable is set for child processes, and
    in an already imported client the constant that the variable feeds: `is_xet_available`, which
    every transfer asks, reads it at each call (1.33 and 2.4).
    The address needs no such care: it is given to `HfApi(endpoint=...)`.

    Raises:
        PublishError: the imported client would use Xet all the same, or is offline.
    """
    host = urlsplit(endpoint).hostname or ""
    if host in _LOOPBACK_HOSTS:
        _bypass_proxies()
    if not _is_public(host):
        os.environ["HF_HUB_DISABLE_XET"] = "1"
        if "huggingface_hub" in sys.modules:
            _switch_xet_off(endpoint)
    offline = sys.modules.get("huggingface_hub.constants")
    if (offline and offline.HF_HUB_OFFLINE) or (
        not offline and os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    ):
        raise PublishError(
            f"huggingface_hub is in offline mode and cannot reach {endpoint}",
            "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE",
        )


@contextmanager
def open_api(target: HubTarget) -> Iterator[Any]:
    """An `HfApi` for `target`, quiet (no progress bars of its own) while the block runs.

    Raises:
        PrerequisiteError: huggingface_hub is not installed.
        PublishError: as for `prepare_environment`.
    """
    prepare_environment(target.endpoint)
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import (
            are_progress_bars_disabled,
            disable_progress_bars,
            enable_progress_bars,
        )
    except ImportError as error:
        raise missing_extra("huggingface_hub", "hub") from error
    were_off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield HfApi(endpoint=target.endpoint, token=target.token)
    finally:
        if not were_off:
            enable_progress_bars()


def transport_errors() -> tuple[type[Exception], ...]:
    """What the client raises when a Hub cannot be reached; 1.x speaks through httpx, 2.x httpx2."""
    loaded = (sys.modules.get(name) for name in ("httpx", "httpx2"))
    return (ConnectionError, *(module.TransportError for module in loaded if module))


def _is_public(host: str) -> bool:
    return any(host == public or host.endswith(f".{public}") for public in _PUBLIC_HOSTS)


def _switch_xet_off(endpoint: str) -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import _runtime

    constants.HF_HUB_DISABLE_XET = True
    if _runtime.is_xet_available():
        raise PublishError(
            f"this version of huggingface_hub cannot be told to upload to {endpoint} without Xet",
            "set HF_HUB_DISABLE_XET=1 before starting",
        )


def _bypass_proxies() -> None:
    # The client honours HTTP_PROXY also for this machine, and builds its session once.
    wanted = ",".join(_LOOPBACK_HOSTS[:2])
    if not any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY")):
        return
    for name in ("NO_PROXY", "no_proxy"):
        if wanted not in os.environ.get(name, ""):
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), wanted]))
    if "huggingface_hub" in sys.modules:
        from huggingface_hub.utils import close_session

        close_session()
