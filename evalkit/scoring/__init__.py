"""Log-probabilities of several continuations of one prompt, with the prompt computed once.

Training, the reference pass and multiple-choice evaluation all ask this one question.
Importing this room imports torch: do it inside functions of lower-floor callers.
"""

from evalkit.scoring.checkpoint import CheckpointScorer
from evalkit.scoring.choice import Choice, choose
from evalkit.scoring.layout import BatchLayout, PackedBatch, lay_out
from evalkit.scoring.model import ContinuationLogps, ScoringModel
from evalkit.scoring.planning import default_token_budget, fill_rows, split_by_tokens

__all__ = [
    "BatchLayout",
    "CheckpointScorer",
    "Choice",
    "ContinuationLogps",
    "PackedBatch",
    "ScoringModel",
    "choose",
    "default_token_budget",
    "fill_rows",
    "lay_out",
    "split_by_tokens",
]
