"""A quantized model's card that shows the scores of the model before quantization as they were."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit import baselines
from evalkit.card_reading.model_names import is_quantized_name
from evalkit.card_reading.score_tables import ScoreTable, Series
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.reported_figures import agreeing, scores_of
from evalkit.lint.rule import Rule

_LABELLED = re.compile(
    r"\bun-?quanti[sz]ed|\boriginal\b|\bfull[- ]precision|before quanti[sz]"
    r"|not (?:been )?quanti[sz]ed|\bparent(?:'s|s)?\b|\b(?:of|for) the (?:base|source"
    r"|unmodified)\b|\b(?:b|f)(?:loat)?16\b",
    re.IGNORECASE,
)


def check(context: Context) -> Iterator[Finding]:
    """Tables in which no row is the quantized model's own, and nothing says whose they are."""
    if not _is_quantized(context):
        return
    for table in context.scores.tables:
        parent = next((one for one in table.models if _is_parent(context, one)), None)
        if parent is None or _has_own(context, table) or _is_labelled(context, table):
            continue
        yield Finding(
            table.table.line,
            f"the table scores {_name(context, parent)}, from which this model was quantized, but "
            "not this model, and nothing says that it was not measured",
            evidence=f"line {parent.line}: {', '.join(one.text for one in parent.figures[:4])}",
            fix="measure the quantized model, or head the table as scores of the original model",
        )


def _is_quantized(context: Context) -> bool:
    subject = context.subject
    return (
        subject.relation == "quantized"
        or "quantized_by" in context.card.metadata
        or any(is_quantized_name(name.text) for name in subject.names)
        or is_quantized_name(context.card.title)
    )


def _is_parent(context: Context, series: Series) -> bool:
    subject = context.subject
    named = (series.subject.repo or "", series.subject.name)
    if any(name and subject.is_base(name) and not is_quantized_name(name) for name in named):
        return True
    return not series.subject.name and _repeats_parent(context, series)


def _repeats_parent(context: Context, series: Series) -> bool:
    """Whether scores under no name are those reported of the model before quantization."""
    known = (baselines.known(base.text) for base in context.subject.base_ids)
    return any(agreeing(series.figures, scores_of(model.id)) for model in known if model)


def _has_own(context: Context, table: ScoreTable) -> bool:
    """Whether a row is of this or of another quantized model."""
    return any(
        is_quantized_name(f"{one.subject.name} {one.subject.repo or ''}")
        or (one.subject.is_own and not _is_parent(context, one))
        for one in table.models
    )


def _is_labelled(context: Context, table: ScoreTable) -> bool:
    line = table.table.line
    titles = [one.title for one in context.card.sections if one.line <= line <= one.end]
    section = context.card.section_of(line)
    start = section.line if section else 0
    said = [one.text for one in context.card.prose if start <= one.number <= table.table.end]
    return any(_LABELLED.search(text) for text in (*titles, *said))


def _name(context: Context, series: Series) -> str:
    base = next((one.text for one in context.subject.base_ids), "the model")
    return series.subject.repo or series.subject.name or base


RULE = Rule(
    code="EK314",
    name="parent-scores",
    summary="A quantized model's card shows only the scores of the model before quantization.",
    why="Readers take them for the quantized model's, which nobody has measured.",
    check=check,
    severity="warning",
)
