"""Draws a chart of results: marks with their intervals, told apart by colour and by shape."""

from __future__ import annotations

from typing import Any

from evalkit.cards.charts import Chart, Series
from evalkit.cards.picture_style import COLOURS, DASHES, INK, empty_figure, plain_text

MARKERS = ("o", "s", "^", "D")
WIDTH_IN, ROW_IN, COURSE_IN = 6.4, 0.32, 3.0
_APART = 0.22  # of a row: how far the marks of two series stand from each other


def chart_figure(chart: Chart) -> Any:
    """The chart on a canvas of its own."""
    course = chart.form == "course"
    rows = len(chart.places) * (1 + 0.4 * (len(chart.series) - 1))
    figure = empty_figure(WIDTH_IN, COURSE_IN if course else 0.9 + ROW_IN * rows)
    axes = figure.subplots()
    axes.set_title(plain_text(chart.title), loc="left", fontsize=8)
    drawn = {
        series.title: _draw(axes, chart, series, number)
        for number, series in enumerate(chart.series)
    }
    places = [plain_text(place) for place in chart.places]
    if course:
        axes.set_xticks(range(len(places)), places, rotation=15 if len(places) > 3 else 0)
        axes.set_ylabel(chart.axis)
        axes.margins(x=0.1)
    else:
        axes.set_yticks(range(len(places)), places)
        axes.set_xlabel(chart.axis)
        axes.set_ylim(len(places) - 0.5, -0.5)  # the first on top
        axes.grid(visible=False, axis="y")
    if chart.form == "changes":
        axes.axvline(0, color=INK, linewidth=1.0, zorder=1)
    if len(drawn) > 1:
        titles = [plain_text(title) for title in drawn]
        figure.legend(drawn.values(), titles, loc="outside upper center", ncols=min(3, len(drawn)))
    return figure


def _draw(axes: Any, chart: Chart, series: Series, number: int) -> Any:
    """One series of marks, each with a bar over its interval."""
    shift = _APART * (number - (len(chart.series) - 1) / 2)
    at = [chart.places.index(mark.at) for mark in series.marks if mark.at in chart.places]
    shown = [mark for mark in series.marks if mark.at in chart.places]
    values = [mark.value for mark in shown]
    below = [_reach(mark.value, mark.low) for mark in shown]
    above = [_reach(mark.value, mark.high) for mark in shown]
    course = chart.form == "course"
    along = [place + (0.25 if course else 1.0) * shift for place in at]
    x, y = (along, values) if course else (values, along)
    reach = {"yerr" if course else "xerr": [below, above]} if any(below + above) else {}
    colour = COLOURS[number % len(COLOURS)]
    found = axes.errorbar(
        x,
        y,
        **reach,
        color=colour,
        marker=MARKERS[number % len(MARKERS)],
        markersize=5,
        linestyle=DASHES[number % len(DASHES)] if course else "none",
        linewidth=1.2,
        elinewidth=1.2,
        capsize=3,
        zorder=3,
    )
    found.lines[0].set_gid(f"marks-{chart.name}-{number}")
    return found


def _reach(value: float, end: float | None) -> float:
    return 0.0 if end is None else abs(end - value)
