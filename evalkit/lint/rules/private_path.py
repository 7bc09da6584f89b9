"""A path of somebody's own machine, and the user name in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.card_reading import Line
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule
from evalkit.private_text import PRIVATE_PATH

_USER = re.compile(r"(?:/home/|/Users/|[A-Za-z]:\\+Users\\+)([\w.-]+)")
# Accounts that are nobody's in particular.
_ANYBODY = frozenset(
    "user username you your your-username your_username me name yourname youruser ubuntu jovyan"
    " runner root app admin someone example shared".split()
)
# Places that machines of any reader have, too: examples use them.
_COMMON = re.compile(r"/tmp/|/mnt/|/root/|/var/folders/")


def check(context: Context) -> Iterator[Finding]:
    """Each such path once a line; in code, common places such as /tmp are examples."""
    for line in context.card.lines:
        path = next(_paths(line), None)
        if path:
            named = _USER.match(path)
            yield Finding(
                line.number,
                "the card names a path of somebody's own machine",
                evidence=path[:80],
                fix="write the Hub id, or a path that any reader can have",
                severity="error" if named or line.kind == "metadata" else "warning",
            )


def _paths(line: Line) -> Iterator[str]:
    for found in PRIVATE_PATH.finditer(line.text.encode("utf-8", "replace")):
        path = found[0].decode("utf-8", "replace")
        user = _USER.match(path)
        if user and user[1].lower() in _ANYBODY:
            continue
        if line.kind == "code" and _COMMON.match(path):
            continue
        yield path


RULE = Rule(
    code="EK602",
    name="private-path",
    summary="An absolute path of the author's machine stands in the card.",
    why="It leads nowhere for a reader, and tells user names and how a cluster is laid out.",
    check=check,
)
