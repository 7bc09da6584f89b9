"""What is known of models: numbers, with the settings that decide whether they compare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.family import Member, ModelFacts
from evalkit.leaderboard import Column, definition_names, label, read_definition
from evalkit.records import Checkpoint, ResultSet, Score
from evalkit.score_records import ScoreRecord, is_unknown
from evalkit.standings import judge_name

_UNIT = re.compile(r"\s*\([^()]*(?:%|n=|1 to 10)[^()]*\)\s*$")
RECORD = "record"  # where: one that lies beside the card
_NOTHING = ModelFacts(None, None, None, None)


@dataclass(frozen=True)
class Known:
    """A number that was recorded, measured again, or read from a file of results.

    names: what a card may call it, normalised. settings: see `settings_of`; what is unknown is
    not in it. where: what says so. is_own: whether it is the very measurement that the card
    reports, and not another one of the same thing; then only the same number will do.
    digest: of its record; empty where it is computed of several.
    """

    model: str
    names: frozenset[str]
    score: Score
    settings: Mapping[str, Any]
    where: str
    is_own: bool
    digest: str = ""


def normalised(text: str) -> str:
    """A name without case, punctuation, and the unit and number of items behind it."""
    return " ".join(re.findall(r"[a-z0-9]+", _UNIT.sub("", text).lower()))


def plain_task(task: str) -> str:
    """A task's name as `model-index` has it: with a slash it would read as a Hub data set."""
    return task.replace("/", "_")


def known_of(records: Iterable[ScoreRecord], where: str, *, is_own: bool) -> list[Known]:
    """What records say, and what leaderboards compute of them."""
    found = list(records)
    direct = [_direct(record, where, is_own) for record in found]
    by_model: dict[str, list[ScoreRecord]] = {}
    for record in found:
        by_model.setdefault(record.model, []).append(record)
    computed = [
        one for model, own in by_model.items() for one in _computed(model, own, where, is_own)
    ]
    return [*direct, *computed]


def settings_of(record: ScoreRecord) -> dict[str, Any]:
    """What must be equal for two numbers to compare, where it is known."""
    said, score = record.source, record.score.settings
    stated = said.get("stated", said)
    judge = stated.get("judge")
    found = {
        "few_shot": score.get("few_shot", said.get("few_shot")),
        "chat_template": score.get("chat_template"),
        "template_sha256": said.get("chat_template", stated.get("chat_template_sha256")),
        "judge": None if is_unknown(judge) else judge_name({"judge": judge}) or None,
        "harness": stated.get("harness", score.get("harness")),
        "weights": said.get("weights"),
        "limit": score.get("limit"),
    }
    return {
        key: value for key, value in found.items() if value is not None and not is_unknown(value)
    }


def _direct(record: ScoreRecord, where: str, is_own: bool) -> Known:
    return Known(
        record.model,
        frozenset(_names(record)),
        record.score,
        settings_of(record),
        where=f"{where} {record.digest[:12]}, {record.origin}" if where == RECORD else where,
        is_own=is_own,
        digest=record.digest,
    )


def _names(record: ScoreRecord) -> Iterator[str]:
    score = record.score
    if "overlapping" in score.settings:  # without items that the training data holds
        yield f"{score.task} {score.metric} clean"
        return
    for task in (score.task, label("tasks", score.task)):
        for metric in (score.metric, label("metrics", score.metric)):
            yield normalised(f"{task}: {metric}")
    for column in _columns():
        if column.benchmark == record.benchmark and column.admits(score):
            yield normalised(column.heading)


def _columns() -> Iterator[Column]:
    for name in definition_names():
        yield from read_definition(name).columns


def _computed(model: str, records: list[ScoreRecord], where: str, is_own: bool) -> Iterator[Known]:
    """Columns that are means of several scores, and averages of columns."""
    member = _member(model, records)
    settings = _common([settings_of(record) for record in records])
    for name in definition_names():
        definition = read_definition(name)
        scores = {column.heading: column.score_of(member) for column in definition.columns}
        for column in definition.columns:
            score = scores[column.heading]
            if column.parts and score is not None:
                names = {column.heading, f"{column.task}: {column.metric}"}
                yield Known(
                    model, frozenset(map(normalised, names)), score, settings, where, is_own
                )
        for average in definition.averages:
            parts = [scores[heading] for heading in average.of]
            if all(part is not None for part in parts):
                value = sum(part.value for part in parts if part) / len(parts)
                score = Score("average", "average", value, None, "percent",
                              settings={"leaderboard": name})  # fmt: skip
                named = frozenset({normalised(average.label), "average"})
                yield Known(model, named, score, settings, where, is_own)


def _member(model: str, records: list[ScoreRecord]) -> Member:
    by_benchmark: dict[str, list[Score]] = {}
    for record in records:
        if "overlapping" not in record.score.settings:
            by_benchmark.setdefault(record.benchmark, []).append(record.score)
    results = tuple(
        ResultSet(benchmark, model, "", tuple(scores), {})
        for benchmark, scores in by_benchmark.items()
    )
    return Member(Checkpoint(model, "", "", ""), "imported", model, None, _NOTHING, results)


def _common(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """What all have alike; each part's own few-shot examples are in the definition."""
    first = settings[0]
    return {k: v for k, v in first.items() if all(one.get(k) == v for one in settings)}
