"""Cards made from records: every number on them resolves to one, and says where it comes from.

`build_card` gives the README.md of one checkpoint of a family, `build_files` that and all that
belongs beside it.
"""

from evalkit.cards.card import build_card, build_files
from evalkit.cards.curves import drawn_points
from evalkit.cards.dataset_card import PairsFacts, build_dataset_card
from evalkit.cards.eval_results import eval_result_paths
from evalkit.cards.family_page import build_family_page
from evalkit.cards.links import CARD_FILE, results_folder
from evalkit.cards.picture import build_figures, can_draw
from evalkit.cards.recording import Book, records_of
from evalkit.cards.recovery import RECOVERY_FILE
from evalkit.cards.regions import holds_own_words, is_sealed, rebuilt
from evalkit.cards.terms import faults as licence_faults

__all__ = [
    "CARD_FILE",
    "RECOVERY_FILE",
    "Book",
    "PairsFacts",
    "build_card",
    "build_dataset_card",
    "build_family_page",
    "build_figures",
    "build_files",
    "can_draw",
    "drawn_points",
    "eval_result_paths",
    "holds_own_words",
    "is_sealed",
    "licence_faults",
    "rebuilt",
    "records_of",
    "results_folder",
]
