"""How every picture on a card looks: legible on light and dark pages, and to colour-blind readers.

Equal numbers give equal bytes, whatever a user's matplotlibrc says.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from evalkit.markdown import printable

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
    "text.parse_math": False,  # a `$` in a name is a `$`
    "xtick.color": INK,
    "ytick.color": INK,
}


def drawn(figure: Callable[[], Any], words: str) -> dict[str, bytes]:
    """A picture by file ending, `svg` and `png`; `words` say in it what it shows."""
    with _style():
        canvas = figure()
        svg, png = io.BytesIO(), io.BytesIO()
        # No date and no version of matplotlib.
        canvas.savefig(
            svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
        canvas.savefig(png, format="png", transparent=True, metadata={"Software": None})
    return {"svg": _described(svg.getvalue(), words), "png": png.getvalue()}


def empty_figure(width_in: float, height_in: float) -> Any:
    """A canvas of this size, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_text(text: str) -> str:
    """Text from outside as a picture can show it: on one line, without control characters."""
    return " ".join(printable(text).split())


@contextmanager
def _style() -> Iterator[None]:
    """A block in which matplotlib draws as we say, whatever its user prefers."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _described(svg: bytes, words: str) -> bytes:
    """The SVG with its content in words, for screen readers."""
    text = svg.decode("utf-8")
    start = text.index("<svg ") + len("<svg ")
    text = f'{text[:start]}role="img" aria-labelledby="title" {text[start:]}'
    head = text.index(">", text.index("<svg ")) + 1
    said = escape(plain_text(words))
    return f'{text[:head]}\n <title id="title">{said}</title>{text[head:]}'.encode()
