"""A relative link to a file that the repository does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//|/|#")
_ON_HUB = re.compile(r"^(?:\./)?(?:blob|resolve|raw|tree)/[\w.-]+/")


def check(context: Context) -> Iterator[Finding]:
    """Every link and image whose file is missing; nothing where only the card is known."""
    if context.folder is None:
        return
    for link in context.card.links:
        path = _path(link.target)
        if path and not (context.folder / path).exists():
            what = "image" if link.is_image else "file"
            yield Finding(
                link.line,
                f"there is no {what} {path} in the repository",
                evidence=f"({link.target})",
                fix="add it, or correct the link",
            )


def _path(target: str) -> str:
    """The file that a relative link leads to; empty for any other link."""
    if not target or _SCHEME.match(target):
        return ""
    try:
        path = unquote(urlsplit(target).path)
    except ValueError:
        return ""
    path = _ON_HUB.sub("", path).removeprefix("./")
    # A link to outside the repository, or a word in brackets that is no path.
    return "" if path.startswith("..") or "\0" in path or len(path) > 1000 else path


RULE = Rule(
    code="EK502",
    name="dead-link",
    summary="A relative link or image leads to no file of the repository.",
    why="On the Hub it is a broken picture, or a page that does not exist.",
    check=check,
)
