"""What was measured and how: each suite with its protocol, its origin and all its scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.cards import sources, values
from evalkit.cards.contamination import overlap
from evalkit.cards.links import results_link
from evalkit.cards.recording import Book, command_of, harness_of, record_link
from evalkit.cards.reported_figures import by_whom, decimals_in
from evalkit.family import Family, Member
from evalkit.leaderboard import Found, label
from evalkit.markdown import Markdown, code, escape, table
from evalkit.records import ResultSet, Score
from evalkit.score_records import is_unknown
from evalkit.standings import (
    EMPTY,
    judge_name,
    number,
    unit_of,
    with_interval,
)

CONFIDENCE = "95 %"
_SHOWN_APART = ("harness", "judge", "versions", "imported", "reported", "contamination")


@dataclass(frozen=True)
class Measured:
    """One suite on the card: its protocol and all its scores.

    origin: where they came from, if another tool measured them; empty if evalkit did.
    command: what measures them again; empty where the records do not say.
    caution: why its judge is to be read with care; empty where nothing says so.
    overlap: what of its items the training data holds; empty if that was not looked for.
    """

    benchmark: str
    title: str
    harness: str
    judge: str
    files: Markdown
    protocol: Markdown
    command: str
    scores: Markdown
    origin: Markdown
    caution: Markdown
    overlap: Markdown


def measured(family: Family, member: Member, book: Book) -> list[Measured]:
    """Every suite this member was measured on."""
    return [
        Measured(
            benchmark=result.benchmark,
            title=_title(result),
            harness="" if _reported(result) else harness(family, result),
            judge=judge_name(values.portable(result.provenance)),
            files=Markdown("") if _reported(result) else results_link(result.benchmark),
            protocol=_protocol(family, result),
            command=_command(family, member, result),
            scores=_scores(member, result, book),
            origin=_origin(result),
            caution=_caution(result),
            overlap=overlap(member, result, book),
        )
        for result in member.results
    ]


def _title(result: ResultSet) -> str:
    name, reported = label("benchmarks", result.benchmark), _reported(result)
    if not reported:
        return name
    return f"{name}, reported by {sources.REPORTERS[reported.get('by', '')]}"


def _reported(result: ResultSet) -> Mapping[str, Any]:
    """Who reports it, where, and when that was; empty for what was not read on somebody's page."""
    found: Mapping[str, Any] = result.provenance.get("reported") or {}
    return found


def harness(family: Family, result: ResultSet) -> str:
    """What computed the scores, with its version.

    Raises:
        CardError: nothing says so.
    """
    stated = harness_of(family, result)
    suite = sources.benchmark(result.benchmark)
    name, _, rest = stated.partition(" ")
    return f"{suite['harness_label']} {rest}" if name == suite.get("harness") else stated


def _caution(result: ResultSet) -> Markdown:
    """What the audit of a judge found that a reader must know before the numbers."""
    found = result.provenance.get("judge_audit") or {}
    kin = found.get("self_preference")
    if not kin:
        return Markdown("")
    return Markdown(f"**Caution**: {escape(str(kin))}. Judges tend to prefer their own kind.")


def _origin(result: ResultSet) -> Markdown:
    reported, imported = _reported(result), result.provenance.get("imported")
    if reported:
        return Markdown(f"Reported by {by_whom(result)}")
    if not imported:
        return Markdown("")
    name = imported.get("model")
    called = f", where this model is called {escape(str(values.portable(name)))}" if name else ""
    return Markdown(
        f"Imported from {escape(imported['tool'])} (its file {code(imported['file'])}, "
        f"sha256 {code(imported['sha256'])}{called})"
    )


def _scores(member: Member, result: ResultSet, book: Book) -> Markdown:
    rows = []
    for score in result.scores:
        name = f"{label('tasks', score.task)}: {label('metrics', score.metric).replace('_', ' ')}"
        decimals = decimals_in(result, score)
        shown = number(score.value, decimals)
        (record,) = book.cite(member, name, shown, Found(score, result))
        better = Markdown("") if score.higher_is_better else "lower is better"
        missing = str(score.missing) if score.n else EMPTY
        rows.append([name, _value(score, decimals), _count(score), missing,
                     record_link(record), better])  # fmt: skip
    head = ["Task: metric", Markdown(f"Value [{CONFIDENCE}]"), "n", "Missing", "Origin", ""]
    if all(score.higher_is_better for score in result.scores):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows, ["left", "right", "right", "right", "left"])


def _count(score: Score) -> str:
    """How many items; somebody's figure does not always say."""
    return str(score.n) if score.n else EMPTY


def _value(score: Score, decimals: int) -> Markdown:
    unit = unit_of(score)
    shown = with_interval(score.value, score.ci_low, score.ci_high, decimals)
    return Markdown(f"{shown} {unit}" if unit == "%" else shown)


def _protocol(family: Family, result: ResultSet) -> Markdown:
    """Everything the record says about how, as a list; the harness and the judge stand first."""
    facts = {k: v for k, v in result.provenance.items() if k not in _SHOWN_APART}
    rows: list[tuple[str, Markdown]] = []
    if not _reported(result):
        rows.append(("harness", escape(harness(family, result))))
    judge = result.provenance.get("judge")
    if judge:
        rows.append(("judge", values.shown(judge)))
    rows += _settings(result)
    rows += list(values.rows(facts))
    versions = result.provenance.get("versions")
    if versions:
        rows.append(("versions", values.shown(versions)))
    return Markdown("\n".join(f"- {escape(name)}: {value}" for name, value in rows if value))


def _command(family: Family, member: Member, result: ResultSet) -> str:
    if _origin(result):
        return ""
    found = command_of(family, member, result.benchmark)
    return "" if is_unknown(found) else str(found)


def _settings(result: ResultSet) -> Iterator[tuple[str, Markdown]]:
    """The settings of every task, once per task unless its metrics differ in them."""
    by_task: dict[str, dict[str, Mapping[str, Any]]] = {}
    for score in result.scores:
        same = json.dumps(score.settings, sort_keys=True, default=str)
        by_task.setdefault(score.task, {}).setdefault(same, score.settings)
    for task, variants in by_task.items():
        for settings in variants.values():
            if settings:
                kept = {k: v for k, v in settings.items() if k not in _SHOWN_APART}
                yield label("tasks", task), values.phrase(kept)
