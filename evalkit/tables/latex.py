r"""A leaderboard as a LaTeX table for papers; its preamble needs booktabs and threeparttable.

Each benchmark takes two columns: values, aligned at the decimal point because all have as many
decimals, and small intervals. Source: booktabs 1.618 and threeparttable 3.0, their manuals.
"""

from __future__ import annotations

import re
import unicodedata

from evalkit.markdown import printable
from evalkit.standings import EMPTY, Cell, Row, Standings, number

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after the end of a row, or \item, it would begin an argument
    "]": "{]}",
    "*": "{*}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "−": r"$-$",
    "×": r"$\times$",
    "†": r"\textdagger{}",
    "…": r"\ldots{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "η": r"$\eta$",
    "σ": r"$\sigma$",
}

# Two of these in a row would become a dash or a quotation mark.
_LIGATURE = re.compile(r"([-',])(?=\1)")


def to_latex(standings: Standings) -> bytes:
    """A floating table with caption, label and notes; the best of each column is bold."""
    columns = "l" + r"r@{\,}l" * len(standings.headings)
    heads = [_heading(heading) for heading in standings.headings]
    lines = [
        r"% \usepackage[T1]{fontenc}, \usepackage{booktabs}, \usepackage{threeparttable}",
        r"\begin{table}",
        r"\centering",
        r"\begin{threeparttable}",
        rf"\caption{{{escape(standings.definition.title)}}}",
        rf"\label{{tab:{_slug(standings.definition.name)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(["Model", *heads]) + r" \\",
        r"\midrule",
        *(_row(row) for row in standings.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *_notes(standings),
        r"\end{threeparttable}",
        r"\end{table}",
    ]
    return ("\n".join(lines) + "\n").encode()


def escape(text: str) -> str:
    """`text` on one line, to be read as it stands; nothing in it is a command or a ligature.

    Letters of all scripts pass: XeLaTeX and LuaLaTeX set those that pdfLaTeX's fonts lack.
    """
    line = " ".join(printable(unicodedata.normalize("NFC", text)).split())
    shown = "".join(_SPECIAL.get(character, character) for character in line)
    return _LIGATURE.sub(r"\1{}", shown)


def _heading(heading: str) -> str:
    # Two lines where there is a natural break, or a table would be wider than any page.
    first, colon, second = heading.partition(": ")
    text = escape(first + colon.strip())
    if second:
        text = rf"\shortstack{{{text}\\{escape(second)}}}"
    return rf"\multicolumn{{2}}{{c}}{{{text}}}"


def _row(row: Row) -> str:
    return " & ".join([escape(row.member.title), *map(_cell, row.cells)]) + r" \\"


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return f"{escape(EMPTY)} & "
    value = number(cell.value, cell.decimals).replace("-", "$-$")
    aside = ""
    if cell.ci_low is not None and cell.ci_high is not None:
        low, high = number(cell.ci_low, cell.decimals), number(cell.ci_high, cell.decimals)
        aside = f"[{low}, {high}]".replace("-", "$-$")
    if cell.items:
        aside += f" ({escape(cell.items)})"
    shown = rf"{{\scriptsize {aside.strip()}}}" if aside else ""
    bold = rf"\textbf{{{value}}}" if cell.best else value
    return f"{bold} & {shown}{escape(cell.mark)}"


def _notes(standings: Standings) -> list[str]:
    if not standings.notes:
        return []
    items = [rf"\item {escape(note)}" for note in standings.notes]
    return [r"\begin{tablenotes}", r"\footnotesize", *items, r"\end{tablenotes}"]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "leaderboard"
