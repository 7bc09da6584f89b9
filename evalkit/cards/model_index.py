"""The `model-index` of a card, built by our own code: the Hub library merges entries that differ.

A score gets the field's conventional name only where task, shots, items and
settings are the conventional ones; otherwise it stands under its own.
Source: github.com/huggingface/hub-docs, modelcard.md; entries as stored cards have them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from evalkit.cards import sources, values
from evalkit.cards.evaluation import harness
from evalkit.cards.links import endpoint, results_folder
from evalkit.cards.recording import Book
from evalkit.family import Family, Member
from evalkit.leaderboard import Column, Found, IndexEntry, conventional_columns, label
from evalkit.records import ResultSet, Score
from evalkit.standings import imported_from, judge_name, number

DECIMALS = 2
NOT_STATED = "not stated"
TASK = {"type": "text-generation", "name": "Text Generation"}


class _Entry(NamedTuple):
    """One score with the `dataset` it goes under."""

    dataset: dict[str, Any]
    metric: dict[str, Any]
    source: dict[str, str]


def model_index(family: Family, member: Member, book: Book) -> list[dict[str, Any]]:
    """The one-item list of the front matter; empty where nothing was measured."""
    groups: dict[str, dict[str, Any]] = {}
    for result in member.results:
        for entry in _entries(family, member, result, book):
            key = json.dumps([entry.dataset, entry.source], sort_keys=True)
            group = groups.setdefault(key, {"task": dict(TASK), "dataset": entry.dataset})
            group.setdefault("metrics", []).append(entry.metric)
            if entry.source:
                group["source"] = entry.source
    results = _distinct(list(groups.values()))
    return [{"name": member.title, "results": results}] if results else []


def _entries(family: Family, member: Member, result: ResultSet, book: Book) -> Iterator[_Entry]:
    reported = result.provenance.get("reported")
    made_by = "" if reported else harness(family, result)
    source = source_of(family, member, result)
    for score in result.scores:
        column = _conventional(result, score)
        book.cite(member, score.metric, str(_rounded(score.value)), Found(score, result))
        if column is not None and column.model_index is not None:
            yield _conventional_entry(column.model_index, score, result, source)
            continue
        name = label("metrics", score.metric).replace("_", " ")
        dataset = _own_dataset(result, score, made_by)
        yield _Entry(dataset, _metric(score, score.metric, name), source)
    for column in conventional_columns():
        found = column.found(member) if column.parts else None
        if found is not None and found.result is result and column.model_index is not None:
            shown = str(_rounded(found.score.value))
            book.cite(member, column.heading, shown, *column.made_of(member))
            yield _conventional_entry(column.model_index, found.score, result, source)


def _conventional_entry(entry: IndexEntry, score: Score, result: ResultSet, source: Any) -> _Entry:
    dataset = entry.dataset.model_dump(exclude_none=True)
    if "annotator" in dataset.get("args", {}):  # the convention leaves it to the card who judged
        dataset["args"]["annotator"] = _judge(score, result) or NOT_STATED
    return _Entry(dataset, _metric(score, entry.metric.type, entry.metric.name), source)


def _conventional(result: ResultSet, score: Score) -> Column | None:
    if score.settings.get("not_comparable"):
        return None
    return next(
        (
            column
            for column in conventional_columns()
            if column.benchmark == result.benchmark
            and column.admits(score)
            and _is_whole(column.model_index, result, score)
        ),
        None,
    )


def _is_whole(entry: IndexEntry | None, result: ResultSet, score: Score) -> bool:
    """Whether the score is over all items; how many a figure of others is of is theirs to say."""
    if entry is None or entry.n is None or "reported" in result.provenance:
        return True
    return score.n is not None and score.n + score.missing == entry.n


def _own_dataset(result: ResultSet, score: Score, made_by: str) -> dict[str, Any]:
    args = values.portable(score.settings)
    if made_by:
        args["harness"] = made_by
    judge = _judge(score, result)
    if judge:
        args["judge"] = judge
    kind = score.task.replace("/", "_")  # with a slash it would read as a Hub data set
    return {"name": label("tasks", score.task), "type": kind, "args": args}


def _judge(score: Score, result: ResultSet) -> str:
    """Who judged, as the record or somebody's page says; empty where nobody did or it is unsaid."""
    return judge_name(values.portable(result.provenance)) or str(score.settings.get("judge", ""))


def _metric(score: Score, kind: str, name: str | None) -> dict[str, Any]:
    counted = {"n": score.n, "missing": score.missing} if score.n else {}
    args: dict[str, Any] = {**counted, "scale": score.scale}
    if score.stderr is not None:
        args["stderr"] = _rounded(score.stderr)
    if score.ci_low is not None and score.ci_high is not None:
        args["confidence_interval_95"] = [_rounded(score.ci_low), _rounded(score.ci_high)]
    named = {"name": name} if name else {}
    return {"type": kind, "value": _rounded(score.value), **named, "args": args}


def _rounded(value: float) -> float:
    return float(number(value, DECIMALS))


def source_of(family: Family, member: Member, result: ResultSet) -> dict[str, str]:
    """Who measured it: we did, the tool whose files were imported, or somebody who reports it.

    Without an address there can be no source at all.
    """
    reported = result.provenance.get("reported")
    if reported:
        by = sources.REPORTERS[reported.get("by", "")]
        return {"name": f"reported by {by}, {reported['date']}", "url": reported["url"]}
    hub = endpoint(family)
    if hub and family.published and member.repo_id:
        url = f"{hub}/{member.repo_id}/tree/main/{results_folder(result.benchmark)}"
    else:
        url = sources.benchmark(result.benchmark).get("url", "")
    how = "imported by evalkit" if imported_from(result) else "self-reported"
    return {"name": f"{harness(family, result)} ({how})", "url": url} if url else {}


def _distinct(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gives groups that readers would merge (type, config and split alike) their own `config`."""
    seen: dict[str, int] = {}
    for group in groups:
        dataset = group["dataset"]
        key = json.dumps([dataset["type"], dataset.get("config"), dataset.get("split")])
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 1:
            dataset["config"] = f"{dataset.get('config', 'settings')}-{seen[key]}"
    return groups
