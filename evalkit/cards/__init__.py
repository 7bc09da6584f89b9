"""Model cards made from records: every number in them is one that was measured here.

`build_card` gives the README.md of one checkpoint of a family, `build_figures` its pictures.
"""

from evalkit.cards.card import build_card
from evalkit.cards.curves import drawn_points
from evalkit.cards.links import FIGURES_FOLDER, RESULTS_FOLDER, results_folder
from evalkit.cards.picture import build_figures, can_draw

__all__ = [
    "FIGURES_FOLDER",
    "RESULTS_FOLDER",
    "build_card",
    "build_figures",
    "can_draw",
    "drawn_points",
    "results_folder",
]
