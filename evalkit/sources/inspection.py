"""What `evalkit data check` says of data: shape, counts, duplicates, problems and lengths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from evalkit.errors import Problem
from evalkit.records import Prompt, Question
from evalkit.roles import PluginRef
from evalkit.sources.own_data import Examination, OwnDataOptions
from evalkit.sources.rows import SHOWN
from evalkit.sources.selection import Record, asked
from evalkit.sources.shapes import QUESTIONS, unused

QUANTILES = {"min": 0.0, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "max": 1.0}
LINE = 96  # characters of a recipe's line
Lengths = dict[str, float]


@dataclass(frozen=True)
class Report:
    """Everything told of one source of data.

    shape: its name; recognised: in words, with the data's own columns.
    fields: our field -> its column. unused: columns that become nothing.
    kept: records left after each step that was asked for, in order.
    repeated_prompts: prompts that stand in several rows; surplus_rows: rows beyond the first.
    problems_by_kind: (column, what is wrong, rows). problems: the first of them in full.
    ok: whether a recipe may use the data as it is.
    lengths: part (prompt, response...) -> unit (characters, words) -> quantiles.
    recipe: the lines to paste, as one reference to a source.
    """

    data: str
    files: tuple[str, ...]
    rows: int
    shape: str
    recognised: str
    fields: Mapping[str, str]
    unused: tuple[str, ...]
    kept: Mapping[str, int]
    repeated_prompts: int
    surplus_rows: int
    notes: tuple[str, ...]
    problem_rows: int
    problems_by_kind: tuple[tuple[str, str, int], ...]
    problems: tuple[Problem, ...]
    ok: bool
    lengths: Mapping[str, Mapping[str, Lengths]]
    categories: Mapping[str, int]
    recipe: str


def inspect(found: Examination, options: OwnDataOptions, reference: PluginRef) -> Report:
    """The report on data that was examined. reference: the source, as a recipe would name it."""
    table, records = found.table, found.records
    groups = Counter(asked(record) for record in records)
    repeated = [count for count in groups.values() if count > 1]
    counts = table.faults.counts + found.faults.counts
    problems = [*table.faults.problems, *found.faults.problems][:SHOWN]
    dropped = options.bad_rows == "drop" and not table.faults.total and bool(records)
    return Report(
        data=table.name,
        files=table.files,
        rows=len(table.rows) + table.faults.total,
        shape=found.found.shape.name,
        recognised=found.found.said,
        fields=found.found.columns,
        unused=tuple(unused(table.columns, found.found)),
        kept=_kept(options, found),
        repeated_prompts=len(repeated),
        surplus_rows=sum(repeated) - len(repeated),
        notes=tuple(_notes(found, sum(repeated) - len(repeated))),
        problem_rows=counts.total(),
        problems_by_kind=tuple((*kind, number) for kind, number in counts.most_common()),
        problems=tuple(problems),
        ok=not counts or dropped,
        lengths={
            part: {
                "characters": quantiles([len(text) for text in texts]),
                "words": quantiles([len(text.split()) for text in texts]),
            }
            for part, texts in _parts(records).items()
        },
        categories=dict(Counter(r.category for r in records if r.category).most_common()),
        recipe=recipe_lines(found, reference),
    )


def quantiles(values: Sequence[int]) -> Lengths:
    """Quantiles by nearest rank, and the mean; of values in any order."""
    ordered = sorted(values)
    ranks = {name: max(math.ceil(q * len(ordered)), 1) - 1 for name, q in QUANTILES.items()}
    found: Lengths = {name: ordered[rank] for name, rank in ranks.items()}
    return found | {"mean": round(sum(ordered) / len(ordered), 1)}


def recipe_lines(found: Examination, reference: PluginRef) -> str:
    """The source as it stands in a recipe: under `prompts`, or where questions are asked for."""
    key = "questions" if found.found.shape == QUESTIONS else "prompts"
    lines = {key: {"name": reference.name, **reference.options}}
    flow = yaml.safe_dump(
        lines, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True
    )
    flow = flow.strip().removeprefix("{").removesuffix("}")
    if len(flow) <= LINE:
        return flow
    return yaml.safe_dump(lines, default_flow_style=None, sort_keys=False, width=LINE,
                          allow_unicode=True).rstrip()  # fmt: skip


def _kept(options: OwnDataOptions, found: Examination) -> dict[str, int]:
    steps = {
        "filter": (bool(options.filter), found.filtered),
        "usable": (found.usable != found.filtered, found.usable),
        "deduplicate": (options.deduplicate, found.unique),
        "portion": (options.portion is not None, found.portion),
        "taken": (True, len(found.records)),
    }
    return {step: number for step, (told, number) in steps.items() if told}


def _notes(found: Examination, surplus: int) -> list[str]:
    prompts = [record for record in found.records if isinstance(record, Prompt)]
    answered = [prompt for prompt in prompts if prompt.gold is not None]
    repeating = sum(
        bool(p.gold) and str(p.gold).startswith(p.messages[-1].content) for p in prompts
    )
    notes = []
    if surplus:
        notes.append(f"deduplicate: true keeps the first of each, {surplus:,} fewer")
    if answered and len(answered) < len(prompts):
        without = len(prompts) - len(answered)
        notes.append(
            f"{without:,} of {len(prompts):,} have no response; sft, dpo and spin need one"
        )
    if repeating:
        notes.append(f"{repeating:,} responses begin with their prompt: is it part of them?")
    return notes


def _parts(records: Sequence[Record]) -> dict[str, list[str]]:
    """Texts by what they are, empty parts left out."""
    parts: dict[str, list[str]] = {"prompt": [], "response": [], "rejected": []}
    for record in records:
        if isinstance(record, Question):
            parts["prompt"].append("\n\n".join(turn.content for turn in record.turns))
            continue
        parts["prompt"].append("\n\n".join(message.content for message in record.messages))
        if record.gold is not None:
            parts["response"].append(record.gold)
        if record.rejected is not None:
            parts["rejected"].append(record.rejected)
    return {part: texts for part, texts in parts.items() if texts}


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain JSON values."""
    problems = [{"where": one.where, "message": one.message} for one in report.problems]
    kinds = [
        {"column": column, "what": what, "rows": rows}
        for column, what, rows in report.problems_by_kind
    ]
    return asdict(report) | {"problems": problems, "problems_by_kind": kinds}
