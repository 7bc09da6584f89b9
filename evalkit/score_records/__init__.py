"""Score records: a number, where it comes from and how it came about, named by its own digest."""

from evalkit.score_records.folder import FOLDER, INDEX, Citation, Store, read_store, write_store
from evalkit.score_records.record import (
    REQUIRED,
    Origin,
    ScoreRecord,
    is_unknown,
    unknown,
)

__all__ = [
    "FOLDER",
    "INDEX",
    "REQUIRED",
    "Citation",
    "Origin",
    "ScoreRecord",
    "Store",
    "is_unknown",
    "read_store",
    "unknown",
    "write_store",
]
