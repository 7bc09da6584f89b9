"""Tables of a card, those of Markdown and those of HTML, with the line of every row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser

# Source: GitHub Flavored Markdown 0.29, section 4.10; cells of a row may be missing or too many.
_RULE = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_BAR = re.compile(r"(?<!\\)\|")
_MARKUP = re.compile(r"\*\*|__|`|\[(?=[^\]]{0,300}\]\()|\]\([^)]{0,4000}\)|<[^<>]+>")
_WIDEST = 100  # columns or rows that a cell is let span
_Numbered = tuple[int, str]


@dataclass(frozen=True)
class Row:
    """A row: cells as they are written. cell_lines: of each, where they stand on several lines."""

    line: int
    cells: tuple[str, ...]
    cell_lines: tuple[int, ...] = ()

    def line_of(self, column: int) -> int:
        """The line that a cell stands on."""
        return self.cell_lines[column] if self.cell_lines else self.line

    def plain(self) -> tuple[str, ...]:
        """The cells without emphasis, code marks and the addresses of links."""
        return tuple(plain(cell) for cell in self.cells)


@dataclass(frozen=True)
class Table:
    """A table from `line` to `end`. head: a row, too, of which the cells name the columns."""

    line: int
    end: int
    head: Row
    rows: tuple[Row, ...]


def plain(text: str) -> str:
    """Text without emphasis, code marks, tags and the addresses of links."""
    return " ".join(_MARKUP.sub("", text).replace("\\|", "|").split()).strip("*_ ")


def tables_of(lines: Sequence[_Numbered]) -> Iterator[Table]:
    """Tables in order."""
    found = [*_markdown(lines), *_html(lines)]
    yield from sorted(found, key=lambda table: table.line)


def _markdown(lines: Sequence[_Numbered]) -> Iterator[Table]:
    index = 1
    while index < len(lines):
        head, rule = lines[index - 1], lines[index]
        if "|" not in rule[1] or "|" not in head[1] or not _RULE.match(rule[1]):
            index += 1
            continue
        rows = []
        index += 1
        while index < len(lines) and _BAR.search(lines[index][1]):
            rows.append(Row(lines[index][0], _cells(lines[index][1])))
            index += 1
        end = rows[-1].line if rows else rule[0]
        yield Table(head[0], end, Row(head[0], _cells(head[1])), tuple(rows))


def _cells(text: str) -> tuple[str, ...]:
    text = text.strip().removeprefix("|")
    text = text[:-1] if text.endswith("|") and not text.endswith("\\|") else text
    return tuple(cell.strip() for cell in _BAR.split(text))


def _html(lines: Sequence[_Numbered]) -> Iterator[Table]:
    if not any("<table" in text.lower() for _, text in lines):
        return
    parser = _HtmlTables([number for number, _ in lines])
    parser.feed("\n".join(text for _, text in lines))
    for start, rows, end in parser.found:
        if rows:
            yield Table(start, end, rows[0], tuple(rows[1:]))


@dataclass(frozen=True)
class _Cell:
    """A cell of HTML. columns, rows: how many of them it spans."""

    text: str
    line: int
    columns: int
    rows: int


class _HtmlTables(HTMLParser):
    """Collects (first line, rows, last line) of every table; one within another is part of it.

    What spans several columns or rows stands in each of them.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__()
        self.found: list[tuple[int, list[Row], int]] = []
        self._numbers = numbers
        self._start = 0
        self._rows: list[Row] = []
        self._cells: list[_Cell] | None = None
        self._below: dict[int, _Cell] = {}
        self._row_line = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begins a table, a row or a cell."""
        if tag == "table":
            self._start, self._rows, self._cells, self._below = self._line(), [], None, {}
        elif tag == "tr":
            self._close_row()
            self._cells, self._row_line = [], self._line()
        elif tag in ("td", "th") and self._cells is not None:
            given = dict(attrs)
            spans = (_span(given.get(name)) for name in ("colspan", "rowspan"))
            self._cells.append(_Cell("", self._line(), *spans))

    def handle_endtag(self, tag: str) -> None:
        """Ends a row or a table."""
        if tag in ("tr", "table"):
            self._close_row()
        if tag == "table" and self._start:
            self.found.append((self._start, self._rows, self._line()))
            self._start = 0

    def handle_data(self, data: str) -> None:
        """Text of a cell."""
        if self._cells:
            cell = self._cells[-1]
            self._cells[-1] = replace(cell, text=f"{cell.text} {data.strip()}".strip())

    def _close_row(self) -> None:
        if self._cells:
            placed = self._placed(self._cells)
            texts, lines = tuple(cell.text for cell in placed), tuple(cell.line for cell in placed)
            self._rows.append(Row(self._row_line, texts, lines))
        self._cells = None

    def _placed(self, cells: Sequence[_Cell]) -> list[_Cell]:
        """The cells of a row with those that reach down into it, one a column."""
        placed: list[_Cell] = []
        waiting = list(cells)
        while waiting or len(placed) in self._below:
            above = self._below.get(len(placed))
            cell = above or waiting.pop(0)
            placed += [cell] if above else [cell] * cell.columns
        self._below = {
            column: replace(cell, rows=cell.rows - 1)
            for column, cell in enumerate(placed)
            if cell.rows > 1
        }
        return placed

    def _line(self) -> int:
        return self._numbers[min(self.getpos()[0], len(self._numbers)) - 1]


def _span(given: str | None) -> int:
    return min(int(given), _WIDEST) if given and given.isdecimal() and int(given) else 1
