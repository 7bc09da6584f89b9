"""The fenced code blocks of a card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Source: CommonMark 0.31, section 4.5: a fence is closed by one of its kind, at least as long.
FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$")


@dataclass(frozen=True)
class CodeBlock:
    """What stands between two fences. line: of the opening fence; numbers: of each line of `text`.

    language: the first word behind the fence, in lower case. closed: false where no fence ends it.
    """

    line: int
    language: str
    text: str
    numbers: tuple[int, ...]
    closed: bool = True


def closes(text: str, opened: str) -> bool:
    """Whether a line ends the block that the fence `opened` began."""
    mark = FENCE.match(text)
    return bool(mark and mark[1].startswith(opened) and not mark[2].strip())


def code_blocks_of(lines: Iterable[tuple[int, str]]) -> Iterator[CodeBlock]:
    """Blocks in order, of the numbered lines of a card's body."""
    start, opened, language = 0, "", ""
    inside: list[tuple[int, str]] = []
    for number, text in lines:
        mark = FENCE.match(text)
        if opened and closes(text, opened):
            yield _block(start, language, inside, closed=True)
            opened = ""
        elif opened:
            inside.append((number, text))
        elif mark:
            start, opened, inside = number, mark[1], []
            language = (mark[2].split() or [""])[0].lower().strip("{}.")
    if opened:
        yield _block(start, language, inside, closed=False)


def _block(line: int, language: str, inside: list[tuple[int, str]], closed: bool) -> CodeBlock:
    text = "\n".join(text for _, text in inside)
    return CodeBlock(line, language, text, tuple(number for number, _ in inside), closed)
