"""A baseline that bears the name of the quantized model it is compared with."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.card_reading import Figure
from evalkit.card_reading.model_names import is_quantized_name
from evalkit.card_reading.score_tables import ScoreTable, Series
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.names import plain
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """An error where the text says whose the scores are; a warning where only the names tell."""
    if any(is_quantized_name(base.text) for base in context.subject.base_ids):
        return
    for table in context.scores.tables:
        own = next((series for series in table.models if series.subject.is_own), None)
        for series in table.models if own else ():
            if series is own or not is_quantized_name(series.subject.name):
                continue
            said = _said_of_baseline(context, series)
            if said is not None:
                yield _finding(context, series, said)
            elif _is_baseline(table, series, own):
                yield _finding(context, series, None)


def _said_of_baseline(context: Context, series: Series) -> Figure | None:
    """A figure that the text gives the model before quantization and that is this one's here."""
    for said in context.scores.figures:
        if said.where == "prose" and said.model is not None and _means_baseline(context, said):
            for shown in series.figures:
                if said.is_of_same(shown) and said.agrees(shown):
                    return said
    return None


def _means_baseline(context: Context, said: Figure) -> bool:
    name = said.model or ""
    return name.lower().startswith(("the ", "its ")) or context.subject.is_base(said.repo or name)


def _is_baseline(table: ScoreTable, series: Series, own: Series | None) -> bool:
    """Whether recoveries are computed over it though its name is the beginning of this model's."""
    name = plain(series.subject.name)
    return (
        own is not None
        and len(table.models) == 2
        and any(one.kind == "recovery" for one in table.series)
        and plain(own.subject.name) != name
        and plain(own.subject.name).startswith(name)
    )


def _finding(context: Context, series: Series, said: Figure | None) -> Finding:
    base = next((one.text for one in context.subject.base_ids), "the model before quantization")
    return Finding(
        series.line,
        f"the scores under '{series.subject.name}' are the baseline's, not a quantized model's",
        evidence=f"line {said.line} gives {said.text} to '{said.model}'"
        if said
        else "recoveries are computed over them",
        fix=f"head it {base}",
        severity=None if said else "warning",
    )


RULE = Rule(
    code="EK315",
    name="mislabelled-baseline",
    summary="The baseline of a comparison bears the name of a quantized model.",
    why="A reader takes the unquantized scores for those of another quantized version.",
    check=check,
)
