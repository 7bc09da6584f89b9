"""What a card says of how its figures were made: by which judge, harness and examples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from evalkit.card_reading import Figure
from evalkit.card_reading.task_names import Need, leaderboard_in, shipped
from evalkit.lint.context import Context

_JUDGE = re.compile(
    r"\bjudg(?:e[sd]?|ing|ement)\b|\bannotat(?:or|ed by)|\bevaluator\b"
    r"|\b(?:graded|rated|scored) by\b|\bauto-?rater\b|weighted_alpaca_eval\w*"
    r"|alpaca_eval_(?:gpt4|llama)\w*|--judge\b",
    re.IGNORECASE,
)
_BASELINE = re.compile(
    r"\bbaseline\b|gpt4_1106_preview|gpt-4-1106-preview|GPT-4 (?:Turbo|Preview)"
    r"|text[-_]davinci[-_]003|\breference (?:model|outputs?)\b|gpt-4-0314|\b(?:against|over"
    r"|vs\.?)\s+(?:gpt|text|claude)",
    re.IGNORECASE,
)
_ALPACA_VERSION = re.compile(
    r"alpaca[\s_-]?eval[\s_-]*(?:v|version\s*)?[12](?:\.0)?\b|weighted_alpaca_eval|alpaca_eval==\d"
    r"|alpaca_eval\s+\d+\.\d",
    re.IGNORECASE,
)
_HARNESS = re.compile(
    r"\blm[-_ ]eval(?:uation)?(?:[-_ ]harness)?\b|\blanguage model evaluation harness\b"
    r"|\blighteval\b|\bHELM\b|\bopen-?compass\b|\bsimple-evals\b|\bevalplus\b|\bbigcode[-_]eval"
    r"|\binspect[_ -]ai\b|\bolmes\b|\bllm-foundry\b|\bharness:|\bevalkit\b|\bdeepeval\b"
    r"|\bevalscope\b|\bvlmevalkit\b",
    re.IGNORECASE,
)
_HARNESS_VERSION = re.compile(
    r"(?:harness|lm[-_]eval\w*|lighteval|evalkit)\W{0,40}?(?:\([^)]*\)\W*)?(?:version\s*)?v?\d+\.\d"
    r"|\bcommit\b|tree/[0-9a-f]{7,40}|same version",
    re.IGNORECASE,
)
# The leaderboard that ran a model fixes the harness and its commit; a link to its results tells so.
_LEADERBOARD_LINK = re.compile(
    r"huggingface\.co/(?:spaces/\S*open[-_]llm[-_]leaderboard|datasets/open-llm-leaderboard)",
    re.IGNORECASE,
)
_SPREAD = re.compile(
    r"±|\+/-|\\pm\b|confidence interval|\bstd\s?err|standard (?:error|deviation)|\bbootstrap"
    r"|\b9[059]\s?%\s?(?:CI|interval)|\bn\s*=\s*\d|\bconfidence_interval|\bstderr\b",
    re.IGNORECASE,
)
_CITATION = re.compile(r"^\s*@\w+\s*\{", re.MULTILINE)
_SHOT_COUNTS = re.compile(r"\bnum_few_?shot|\bfew_shot\b|\b\d+[\s-]shots?\b|\bzero-shot\b", re.I)


class Passage(NamedTuple):
    """Figures that stand together, in one table or section, and the line they begin at."""

    line: int
    figures: tuple[Figure, ...]


def passages(context: Context, need: Need | None = None) -> Iterator[Passage]:
    """The tables and paragraphs with figures of tasks that have this need, or with any."""
    asked = [table.table for table in context.scores.tables]
    found: dict[int, list[Figure]] = {}
    for figure in context.scores.figures:
        if figure.where == "metadata" or (need and shipped().needs(figure.task) != need):
            continue
        table = next((one for one in asked if one.line <= figure.line <= one.end), None)
        section = context.card.section_of(figure.line)
        key = table.line if table else -(section.line if section else 0) - 1
        found.setdefault(key, []).append(figure)
    for key, figures in found.items():
        yield Passage(key if key > 0 else figures[0].line, tuple(figures))


def names_judge(context: Context) -> bool:
    """Whether the card says what judged; titles of cited papers do not."""
    return _said(context, _JUDGE)


def names_baseline(context: Context) -> bool:
    """Whether the card says what win rates are over."""
    return _said(context, _BASELINE)


def names_alpaca_version(context: Context) -> bool:
    """Whether the card says which AlpacaEval."""
    return _said(context, _ALPACA_VERSION)


def names_harness(context: Context) -> bool:
    """Whether the card says what asked the tasks, or links to the leaderboard's own results."""
    return _said(context, _HARNESS) or was_run_by_leaderboard(context)


def names_harness_version(context: Context) -> bool:
    """Whether the card says which version of it."""
    return _said(context, _HARNESS_VERSION) or was_run_by_leaderboard(context)


def was_run_by_leaderboard(context: Context) -> bool:
    """Whether the card links to an Open LLM Leaderboard."""
    return bool(_LEADERBOARD_LINK.search(context.card.text))


def names_spread(context: Context) -> bool:
    """Whether the card gives an interval, an error or a number of items for any figure."""
    has_any = any(figure.has_spread for figure in context.scores.figures)
    return has_any or _said(context, _SPREAD)


def without_shots(context: Context, passage: Passage) -> list[str]:
    """The tasks of a passage for which the card says nowhere with how many examples."""
    known = {one.task for one in context.scores.figures if "few_shot" in one.settings}
    if any(_SHOT_COUNTS.search(text) for text in _around(context, passage.line)):
        return []
    tasks = dict.fromkeys(one.task for one in passage.figures if one.task not in known)
    return list(tasks)


def names_leaderboard_version(context: Context) -> bool:
    """Whether the averages that the card quotes of an Open LLM Leaderboard say of which."""
    quoted = {one.line for one in context.scores.figures if one.is_average and one.where == "prose"}
    lines = (line.text for line in context.card.prose if line.number in quoted)
    return was_run_by_leaderboard(context) or "open_llm" not in map(leaderboard_in, lines)


def listed(words: Sequence[str], last: str = "and") -> str:
    """Words as a sentence lists them."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _around(context: Context, line: int) -> Iterator[str]:
    """The lines of a section outside its tables, whose headings speak of single tasks."""
    section = context.card.section_of(line)
    tables = {at for table in context.card.tables for at in range(table.line, table.end + 1)}
    for one in context.card.body:
        if one.number not in tables and (
            section is None or section.line <= one.number <= section.end
        ):
            yield one.text


def _said(context: Context, pattern: re.Pattern[str]) -> bool:
    """Whether metadata, prose or commands say something; a bibliography only names papers."""
    cited = {number for block in context.card.code_blocks if _CITATION.search(block.text)
             for number in block.numbers}  # fmt: skip
    text = "\n".join(line.text for line in context.card.lines if line.number not in cited)
    return bool(pattern.search(text))
