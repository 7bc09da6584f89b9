"""Published models and what was reported of them: facts and figures, each with source and date."""

from evalkit.baselines.models import KnownModel, LicenceSince, known, models
from evalkit.baselines.results import results_of
from evalkit.baselines.rows import problems_of, rows_of
from evalkit.baselines.scores import AVERAGE, ReportedScore, families, reported

__all__ = [
    "AVERAGE",
    "KnownModel",
    "LicenceSince",
    "ReportedScore",
    "families",
    "known",
    "models",
    "problems_of",
    "reported",
    "results_of",
    "rows_of",
]
