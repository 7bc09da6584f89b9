"""Checks each number of a card against what is known: records, results, a measurement made now."""

from evalkit.verification.claims import Claim, claims_of
from evalkit.verification.eval_results import claims_beside
from evalkit.verification.known import Known, known_of, settings_of
from evalkit.verification.verdicts import Checked, Verdict, check

__all__ = [
    "Checked",
    "Claim",
    "Known",
    "Verdict",
    "check",
    "claims_beside",
    "claims_of",
    "known_of",
    "settings_of",
]
