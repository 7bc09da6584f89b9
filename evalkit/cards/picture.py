"""The pictures of a card, as SVG and PNG beside it; matplotlib, which is optional, draws them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

from evalkit.cards import charts, curves
from evalkit.cards.chart_drawing import chart_figure
from evalkit.cards.curve_drawing import curves_figure
from evalkit.cards.links import FIGURES_FOLDER
from evalkit.cards.picture_style import drawn
from evalkit.family import Family, Member
from evalkit.leaderboard import Definition
from evalkit.markdown import Markdown, escape
from evalkit.standings import family_standings

TRAINING = "training"


class Picture(NamedTuple):
    """A picture as a card shows it. title: of its section; shown: a link to it with its words."""

    title: str
    shown: Markdown


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def build_figures(
    family: Family, member: Member, definition: Definition | str | None = None
) -> dict[str, bytes]:
    """Path beside its card -> content of each picture of a member; empty where there is none.

    Needs matplotlib where there is one.
    """
    return {
        f"{FIGURES_FOLDER}/{name}.{ending}": content
        for name, figure, words in _figures(family, member, definition)
        for ending, content in drawn(figure, words).items()
    }


def training_picture(family: Family, member: Member) -> dict[str, Any] | None:
    """The picture of a training, told in words to those who do not see it; None for none."""
    found = curves.panels(family, member)
    if not found:
        return None
    earlier = any(len(panel.lines) > 1 for panel in found)
    return {"picture": _shown(TRAINING, curves.in_words(found)), "earlier": earlier}


def result_pictures(
    family: Family, member: Member, definition: Definition | str | None = None
) -> list[Picture]:
    """The pictures of a member's results, as its card shows them."""
    found = charts.charts(family, member, _columns(family, definition))
    return [Picture(one.title, _shown(one.name, charts.in_words(one))) for one in found]


def _figures(
    family: Family, member: Member, definition: Definition | str | None
) -> Iterator[tuple[str, Any, str]]:
    """Name, what draws it, and what it shows in words, of each picture."""
    panels = curves.panels(family, member)
    if panels:
        yield TRAINING, lambda: curves_figure(panels), curves.in_words(panels)
    for one in charts.charts(family, member, _columns(family, definition)):
        yield one.name, lambda chart=one: chart_figure(chart), charts.in_words(one)


def _columns(family: Family, definition: Definition | str | None) -> Any:
    return family_standings(family, definition).definition.columns


def _shown(name: str, words: str) -> Markdown:
    path = f"{FIGURES_FOLDER}/{name}"
    return Markdown(f"[![{escape(words)}]({path}.png)]({path}.svg)")
