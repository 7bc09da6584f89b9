"""Shows settings and facts from records: plainly, and without this machine's paths and hosts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalkit.errors import CardError
from evalkit.leaderboard import label
from evalkit.markdown import Markdown, code, escape

# A name of a folder or file may hold blanks where another stands before it: `/data/my models/x`.
_PATH = re.compile(
    r"(?:file://)?(?:~?/(?:\S*[\w.-][\\/]*|[^\s\\/]+[\\/][^\r\n]*)|[A-Za-z]:[\\/][^\r\n]+)"
)
_PRIVATE_HOST = re.compile(
    r"(?i)(https?://)(?:[^/\s@]*@)?(?:localhost|\[?::1\]?|127(?:\.\d+){3}|10(?:\.\d+){3}"
    r"|192\.168(?:\.\d+){2}|172\.(?:1[6-9]|2\d|3[01])(?:\.\d+){2}|[\w-]+)(?::\d+)?(?=/|$)"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def ordered(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same facts, `name` first and the rest by name.

    Facts read back from a file come in another order than those just made; a card must not.
    """
    return dict(sorted(facts.items(), key=lambda item: (item[0] != "name", item[0])))


def portable(value: Any) -> Any:
    """The same values in order, absolute paths cut to their last part, private hosts left out."""
    if isinstance(value, Mapping):
        return {str(key): portable(item) for key, item in ordered(value).items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [portable(item) for item in value]
    if isinstance(value, str):
        if _PATH.fullmatch(value):
            return "…/" + re.split(r"[\\/]", value.rstrip("\\/"))[-1]
        return _PRIVATE_HOST.sub(r"\1…", value)
    return value


def rows(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Markdown]]:
    """(name, value) of every setting, nested ones under `outer, inner`."""
    for key, value in ordered(facts).items():
        name = prefix + label("settings", key).replace("_", " ")
        if isinstance(value, Mapping):
            yield from rows(value, f"{name}, ")
        else:
            yield name, shown(value)


def phrase(facts: Mapping[str, Any]) -> Markdown:
    """All settings in one line: `name value; name value`."""
    return Markdown("; ".join(f"{escape(name)} {value}" for name, value in rows(facts)))


def shown(value: Any) -> Markdown:
    """One setting as text; digests as code, shortened.

    Raises:
        CardError: it is a number that is not finite, or nothing a card can show.
    """
    if value is None:
        return Markdown("none")
    if isinstance(value, bool):
        return Markdown("yes" if value else "no")
    if isinstance(value, int):
        return Markdown(f"{value:,}" if abs(value) >= 10_000 else str(value))
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        text = portable(value)
        return code(text[:12]) if _DIGEST.fullmatch(text) else escape(text)
    if isinstance(value, Sequence):
        return Markdown(", ".join(shown(item) for item in value) or "none")
    if isinstance(value, Mapping):
        return phrase(value)
    raise CardError(f"a card cannot show {type(value).__qualname__} {value!r}")


def count(number: int | None) -> Markdown:
    """A count with thousands separated."""
    number = _known(number)
    return Markdown(f"{number:,}")


def parameters(number: int | None) -> Markdown:
    """A parameter count as people say it: `0.91 M`, `9.24 B`."""
    number = _known(number)
    unit, size = next(
        (pair for pair in (("B", 1e9), ("M", 1e5), ("K", 1e3)) if number >= pair[1]), ("", 1)
    )
    size = 1e6 if unit == "M" else size
    return Markdown(f"{number / size:.2f} {unit}" if unit else str(number))


def size(number: int | None) -> Markdown:
    """Bytes as `1.83 MB` (powers of ten, as Hubs show them)."""
    number = _known(number)
    unit, factor = next(
        (pair for pair in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if number >= pair[1]), ("B", 1)
    )
    return Markdown(f"{number / factor:.2f} {unit}" if factor > 1 else f"{number} B")


def _known(number: int | None) -> int:
    if number is None:
        raise CardError("a card shows a number of its model that is not known")
    return number


def _float(value: float) -> Markdown:
    if not math.isfinite(value):
        raise CardError(f"a number to be shown is {value}")
    text = f"{value:.6g}"
    return Markdown(re.sub(r"e([+-])0?(\d)$", r"e\1\2", text))
