"""Model cards made from records: every number in them is one that was measured here.

`build_card` gives the README.md of one checkpoint of a family.
"""

from evalkit.cards.card import build_card
from evalkit.cards.links import RESULTS_FOLDER, results_folder

__all__ = ["RESULTS_FOLDER", "build_card", "results_folder"]
