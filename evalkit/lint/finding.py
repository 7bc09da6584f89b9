"""What lint says of a card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing wrong.

    line: of the file; 0 for the whole of it. evidence: what in the card, or which fact with its
    source, shows it. fix: what to do. rule: the code of the rule that found it; it and the severity
    are filled in from the rule where the finding leaves them open.
    """

    line: int
    message: str
    evidence: str = ""
    fix: str = ""
    rule: str = ""
    severity: Severity | None = None
