"""A context length that the model's config, or its base's, does not allow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding, Severity
from evalkit.lint.rule import Rule

_TOKENS = r"(?P<number>\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)\s?(?P<kilo>[km](?![a-z]))?"
_CLAIMS = (
    # Pages of model hubs write it without a blank before or behind: FP8Ctx Length:16kPublished.
    re.compile(rf"Ctx\s+Length\s*:\s*{_TOKENS.replace('(?![a-z])', '')}"),
    re.compile(rf"(?<![\w.,]){_TOKENS}[\s-]*(?:tokens?[\s-]*)?(?:context|ctx)\b", re.I),
    re.compile(
        r"\bcontext(?:\s|-)*(?:length|window|size)s?[*_]*(?:\s+(?:of|up\s+to|to|is)|\s?[:=|])+[*_\s]*"
        rf"(?:up\s+to\s+)?{_TOKENS}",
        re.I,
    ),
)
_COMMAND = re.compile(
    r"--?max[-_]model[-_]len[ =](?P<number>\d+)|\bmax_model_len\s*=\s*(?P<other>\d+)"
)
# A model may have been trained or set up for more than its base or its config.json says.
_EXTENDED = re.compile(
    r"\byarn\b|\brope\b|rope[_ -]scal|extend|long[- ]?context|longlora|superhot|ntk|self-?extend",
    re.I,
)
_OTHERS = re.compile(
    r"unlike|compar|\bthan\b|judge|prompt|dataset|train|teacher|reward|original|base model|\bnot\b",
    re.I,
)
_BEFORE = 300  # characters of a sentence that tell whose context it is
_SMALLEST = 256  # tokens: below, it is no context length
_SLACK = 1.03  # 8.2k for 8,192


class Allowed(NamedTuple):
    """The longest context, in tokens, and who says so."""

    tokens: int
    why: str
    severity: Severity


def check(context: Context) -> Iterator[Finding]:
    """Every claim of more tokens than are known to be allowed."""
    allowed = _allowed(context)
    if allowed is None or _EXTENDED.search(context.card.text):
        return
    for line, tokens, evidence in _claims(context):
        if tokens > allowed.tokens * _SLACK:
            yield Finding(
                line,
                f"the text claims a context of {tokens:,} tokens, but {allowed.why}",
                evidence=evidence,
                fix=f"write {allowed.tokens:,} tokens",
                severity=allowed.severity,
            )
    for line, tokens, evidence in _commands(context):
        if tokens > allowed.tokens:
            yield Finding(
                line,
                f"the command asks for {tokens:,} tokens, but {allowed.why}",
                evidence=evidence,
                fix=f"ask for {allowed.tokens:,} at most: engines refuse more",
                severity="warning",
            )


def _allowed(context: Context) -> Allowed | None:
    tokens = of_config(context.config)
    if tokens is not None:
        return Allowed(tokens, f"its config.json allows {tokens:,}", "error")
    for model in context.subject.published:
        if model.context_length is not None:
            if context.subject.relation == "merge":
                return None
            own = context.subject.is_called(model.id)
            which = model.id if own else f"it is made from {model.id}, which"
            why = f"{which} allows {model.context_length:,} ({model.source})"
            return Allowed(model.context_length, why, "error")
    return None


def of_config(config: Mapping[str, Any]) -> int | None:
    """The longest context that a config.json allows, rotary scaling counted in; None if unsaid."""
    text = config.get("text_config")
    values = text if isinstance(text, Mapping) else config
    longest = values.get("max_position_embeddings") or values.get("n_positions")
    if not isinstance(longest, int):
        return None
    # Source: transformers 5.17.0, modeling_rope_utils: newer files say rope_parameters.
    scaling = values.get("rope_scaling") or values.get("rope_parameters")
    if isinstance(scaling, Mapping):
        first, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
        if isinstance(factor, int | float):
            longest = max(longest, round((first if isinstance(first, int) else longest) * factor))
    return longest


def _claims(context: Context) -> Iterator[tuple[int, int, str]]:
    is_foreign = context.subject.is_foreign
    for sentence in context.card.sentences:
        for mark in (found for form in _CLAIMS for found in form.finditer(sentence.text)):
            before = sentence.text[max(0, mark.start() - _BEFORE) : mark.start()]
            tokens = _tokens(mark["number"], mark["kilo"])
            clause = re.split(r"[;,]", before)[-1]
            if tokens >= _SMALLEST and not _OTHERS.search(clause) and not is_foreign(before):
                yield sentence.line, tokens, " ".join(mark[0].split())
                break


def _tokens(number: str, kilo: str | None) -> int:
    factor = {"k": 1000, "m": 1_000_000}.get((kilo or "").lower(), 1)
    return round(float(number.replace(",", "")) * factor)


def _commands(context: Context) -> Iterator[tuple[int, int, str]]:
    for line in context.card.body:
        if line.kind == "code":
            for mark in _COMMAND.finditer(line.text):
                yield line.number, int(mark["number"] or mark["other"]), mark[0].strip()


RULE = Rule(
    code="EK403",
    name="context-length",
    summary="The claimed context is longer than the config, or the base, allows.",
    why="Beyond the positions that it was trained on, a model answers badly or not at all.",
    check=check,
)
