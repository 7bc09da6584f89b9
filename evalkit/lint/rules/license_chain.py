"""A licence that the licences of the model's bases do not allow."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit import licences
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.licence_chain import Held, held
from evalkit.lint.licence_statements import stated
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """Each pair of a stated licence and a base's that do not go together, once."""
    told: set[tuple[str, str]] = set()
    for statement in stated(context.card):
        if not statement.is_explicit or len(statement.licences) != 1:
            continue
        own = statement.licences[0]
        for one in held(context):
            conflict = licences.compatible(own, one.licence)
            if conflict is None or (own, one.licence) in told:
                continue
            told.add((own, one.licence))
            yield Finding(
                statement.line,
                f"the model is said to be under {own}, but its base {one.model} "
                f"is under {one.licence}: {conflict.why}",
                evidence=f"{one.source}; {conflict.source}",
                fix=f"license it as {one.licence}, or drop the claim",
                severity=_severity(own, one, conflict),
            )


def _severity(own: str, one: Held, conflict: licences.Conflict) -> licences.Severity:
    # What was allowed when the model was made stays allowed, and a sentence may name another base.
    was_allowed = any(licences.compatible(own, past) is None for past in one.earlier)
    return conflict.severity if one.base.sure and not was_allowed else "warning"


RULE = Rule(
    code="EK202",
    name="license-chain",
    summary="The licence does not go with that of a model it was made from.",
    why="A fine-tune cannot give what its base keeps: users would break the base's terms.",
    check=check,
)
