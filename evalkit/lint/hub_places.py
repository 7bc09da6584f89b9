"""Repositories that an address leads to: on the Hub, or on a host that shows the Hub's paths."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

HUB = "https://huggingface.co"
HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
MIRRORS = frozenset({"hf-mirror.com"})
_SEGMENT = re.compile(r"[A-Za-z0-9][\w.-]*")
# First parts of the Hub's own pages, which no owner is called.
_PAGES = frozenset(
    "api blog chat collections docs enterprise front join learn login models new organizations"
    " papers posts pricing search settings tasks terms-of-service privacy".split()
)
_KINDS: dict[str, Literal["dataset", "space"]] = {"datasets": "dataset", "spaces": "space"}
Kind = Literal["model", "dataset", "space"]


class HubPlace(NamedTuple):
    """A repository by the host and the id in an address."""

    host: str
    kind: Kind
    id: str

    @property
    def on_hub(self) -> bool:
        """Whether it is the Hub itself."""
        return self.host in HUB_HOSTS


def hub_place(address: str) -> HubPlace | None:
    """The repository that an address has the form of, whatever its host; None for others."""
    try:
        parts = urlsplit(address)
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    segments = [one for one in parts.path.split("/") if one]
    kind: Kind = "model"
    if segments and segments[0] in _KINDS:
        kind = _KINDS[segments.pop(0)]
    if len(segments) < 2 or (kind == "model" and segments[0] in _PAGES):
        return None
    if not all(_SEGMENT.fullmatch(one) for one in segments[:2]):
        return None
    return HubPlace(host, kind, "/".join(segments[:2]))


def hub_model(address: str) -> str:
    """The id of the model that an address of the Hub, or of a host like it, leads to; or empty."""
    place = hub_place(address)
    return place.id if place is not None and place.kind == "model" else ""
