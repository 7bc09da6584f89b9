"""Draws the course of a training: a small panel for each metric, a line for each training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evalkit.cards.curves import Line, Panel
from evalkit.cards.picture_style import COLOURS, DASHES, empty_figure

COLUMNS = 3
WIDTH_IN, HEIGHT_IN = 3.2, 2.3  # of one panel


def curves_figure(shown: Sequence[Panel]) -> Any:
    """All panels on one canvas."""
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = empty_figure(WIDTH_IN * columns, HEIGHT_IN * rows + 0.3)
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
