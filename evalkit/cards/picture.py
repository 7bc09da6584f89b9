"""Draws training curves with matplotlib, which is optional: small panels, as SVG and as PNG.

Equal numbers give equal bytes. Colours can be told apart by colour-blind readers, lines by their
dashes too, and all of it stands out from a light and from a dark page.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from importlib.util import find_spec
from typing import Any

from evalkit.cards.curves import Line, Panel, in_words, panels
from evalkit.cards.links import CURVES
from evalkit.family import Family, Member

COLUMNS = 3
WIDTH_IN, HEIGHT_IN = 3.2, 2.3  # of one panel
# Source: Okabe & Ito 2008, "Color Universal Design"; those of its colours that have a contrast of
# 3 : 1 with white and with a dark page alike.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
DASHES = ("-", "--", ":", "-.")
INK = "#777777"
_STYLE = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 160,
    "font.size": 8,
    "grid.alpha": 0.25,
    "grid.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: readable by machines, found by a search
    "svg.hashsalt": "evalkit",  # ids of clip paths, otherwise random
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def build_figures(family: Family, member: Member) -> dict[str, bytes]:
    """Path beside its card -> content of each picture of a member; empty where there is none.

    Needs matplotlib where there is one.
    """
    found = panels(family, member)
    drawn = draw(found) if found else {}
    return {f"{CURVES}.{ending}": content for ending, content in drawn.items()}


def draw(shown: Sequence[Panel]) -> dict[str, bytes]:
    """The picture by file ending: `svg` and `png`."""
    with _style():
        figure = _figure(shown)
        svg, png = io.BytesIO(), io.BytesIO()
        # No date and no version of matplotlib.
        figure.savefig(
            svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
        figure.savefig(png, format="png", transparent=True, metadata={"Software": None})
    return {"svg": _described(svg.getvalue(), in_words(shown)), "png": png.getvalue()}


@contextmanager
def _style() -> Iterator[None]:
    """A block in which matplotlib draws as we say, whatever its user prefers."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _figure(shown: Sequence[Panel]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    size = (WIDTH_IN * columns, HEIGHT_IN * rows + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).flat
    titles: dict[str, Any] = {}
    for axes, panel in zip(grid, shown, strict=False):
        titles |= _draw_panel(axes, panel)
    for axes in list(grid)[len(shown) :]:
        axes.remove()
    for axes in list(figure.axes)[-columns:]:
        axes.set_xlabel("optimizer step")
    if len(titles) > 1:
        figure.legend(
            titles.values(), titles, loc="outside upper center", ncols=min(4, len(titles))
        )
    return figure


def _draw_panel(axes: Any, panel: Panel) -> dict[str, Any]:
    """Draws the lines of one metric; returns them by title."""
    axes.set_title(panel.label, loc="left", fontsize=8)
    drawn = {}
    before = [line for line in panel.lines if not line.own]
    own = [line for line in panel.lines if line.own]
    for number, line in enumerate(own + before[::-1]):
        drawn[line.title] = _draw_line(axes, line, number, f"{panel.metric}-{number}")
    return drawn


def _draw_line(axes: Any, line: Line, number: int, name: str) -> Any:
    values = [math.nan if value is None else value for value in line.values]
    (drawn,) = axes.plot(
        line.steps,
        values,
        color=COLOURS[number % len(COLOURS)],
        linestyle=DASHES[number % len(DASHES)],
        linewidth=1.6 if line.own else 1.0,
        zorder=3 if line.own else 2,
        gid=f"line-{name}",
    )
    return drawn


def _described(svg: bytes, words: str) -> bytes:
    """The SVG with its content in words, for screen readers."""
    text = svg.decode("utf-8")
    start = text.index("<svg ") + len("<svg ")
    text = f'{text[:start]}role="img" aria-labelledby="title" {text[start:]}'
    head = text.index(">", text.index("<svg ")) + 1
    return f'{text[:head]}\n <title id="title">{escape(words)}</title>{text[head:]}'.encode()
