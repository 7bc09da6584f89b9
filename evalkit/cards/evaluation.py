"""What was measured, how, and what it means beside the parent and the base: in words and tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.cards import sources, values
from evalkit.cards.contamination import overlap
from evalkit.cards.lineage import parent_of
from evalkit.cards.links import member_link, results_link
from evalkit.cards.recording import Book, command_of, harness_of, record_link
from evalkit.cards.reported_figures import by_whom, decimals_in
from evalkit.errors import CardError
from evalkit.family import Family, Member
from evalkit.leaderboard import Column, Found, label
from evalkit.markdown import Markdown, code, escape, table
from evalkit.records import Comparison, ResultSet, Score
from evalkit.score_records import is_unknown
from evalkit.standings import (
    EMPTY,
    decimals_of,
    judge_name,
    number,
    result_of,
    unit_of,
    with_interval,
)

CONFIDENCE = "95 %"
_POINTS = {"percent": " points", "rating": " rating points"}
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


@dataclass(frozen=True)
class Versus:
    """This model against one other: a verdict in one sentence, and the table behind it."""

    other: Markdown
    verdict: Markdown
    differences: Markdown


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


def versus(family: Family, member: Member, columns: Sequence[Column]) -> list[Versus]:
    """The paired comparisons with the parent and with the base, where they were made."""
    found = []
    for other in _others(family, member):
        pairs = [
            (comparison, _score_of(member, comparison))
            for comparison in family.comparisons
            if (comparison.a, comparison.b) == (other.checkpoint.name, member.checkpoint.name)
        ]
        if pairs:
            name = member_link(family, other)
            found.append(Versus(name, _verdict(pairs, columns), _differences(pairs, columns)))
    return found


def gate(family: Family, member: Member) -> Markdown:
    """What all comparisons with the parent together say; nothing where nobody wants it told."""
    found, parent = member.gate, parent_of(family, member)
    if found is None or not found.told or parent is None:
        return Markdown("")
    other = member_link(family, parent)
    if found.outcome == "not compared":
        return Markdown(f"**Not compared with {other}**: no benchmark measured both item by item.")
    sentence = {
        "better": f"**Better than {other}**",
        "no significant difference": f"**No significant gain over {other}**",
        "worse": f"**Significantly worse than {other}**, which should be used instead",
    }[found.outcome]
    how = f"at {100 * found.level:.4g} % confidence"
    if found.comparisons > 1:
        how += f" in {found.comparisons} comparisons together (Holm)"
    return Markdown(f"{sentence}, {how}.")


def recovery(family: Family, member: Member, columns: Sequence[Column], book: Book) -> Markdown:
    """Each headline of a quantized model beside its parent's, and the share of it that is left.

    Nothing for what is not quantized.
    """
    parent = parent_of(family, member)
    stated = member.imported is not None and member.imported.relation == "quantized"
    if parent is None or not (member.variant or stated):
        return Markdown("")
    rows = [row for column in columns for row in _recovered(column, parent, member, book)]
    if not rows:
        return Markdown("")
    head = ["Benchmark", parent.title, member.title, "Recovery"]
    return table(head, rows, ["left", "right", "right", "right"])


def _others(family: Family, member: Member) -> list[Member]:
    parent = parent_of(family, member)
    candidates = [parent, family.members[0]] if parent else []
    return list({one.checkpoint.name: one for one in candidates if one}.values())


def _score_of(member: Member, comparison: Comparison) -> Score:
    for result in member.results:
        for score in result.scores:
            if (result.benchmark, score.task, score.metric) == _what(comparison):
                return score
    benchmark, task, metric = _what(comparison)
    raise CardError(
        f"{member.title} was compared on {metric} of {task} ({benchmark}), but has no such score"
    )


def _what(comparison: Comparison) -> tuple[str, str, str]:
    return comparison.benchmark, comparison.task, comparison.metric


def _heading(comparison: Comparison, columns: Sequence[Column]) -> str:
    benchmark, task, metric = _what(comparison)
    for column in columns:
        named = (column.benchmark, column.metric) == (benchmark, metric)
        if named and column.covers(task):
            return column.heading
    return Column(benchmark=benchmark, task=task, metric=metric).heading


def _verdict(pairs: Sequence[tuple[Comparison, Score]], columns: Sequence[Column]) -> Markdown:
    groups: dict[str, list[str]] = {
        "better on": [],
        "worse on": [],
        "no significant difference on": [],
    }
    for comparison, score in pairs:
        words = escape(_heading(comparison, columns))
        groups[_outcome(comparison, score)].append(f"{words} ({_difference(comparison, score)})")
    return Markdown("; ".join(f"{how} {', '.join(what)}" for how, what in groups.items() if what))


def _outcome(comparison: Comparison, score: Score) -> str:
    if comparison.ci_low <= 0 <= comparison.ci_high:
        return "no significant difference on"
    return "better on" if (comparison.difference > 0) == score.higher_is_better else "worse on"


def _difference(comparison: Comparison, score: Score) -> Markdown:
    decimals = decimals_of(score)
    sign = "+" if comparison.difference > 0 else ""
    interval = with_interval(
        comparison.difference, comparison.ci_low, comparison.ci_high, decimals
    ).replace("-", "−")
    return Markdown(f"{sign}{interval}{_POINTS.get(score.scale, '')}")


def _differences(pairs: Sequence[tuple[Comparison, Score]], columns: Sequence[Column]) -> Markdown:
    rows = [
        [
            _heading(comparison, columns),
            _difference(comparison, score),
            str(comparison.n),
            _p_value(comparison.p_value),
            "no" if comparison.ci_low <= 0 <= comparison.ci_high else "yes",
            comparison.method,
        ]
        for comparison, score in pairs
    ]
    difference = Markdown(f"Difference [{CONFIDENCE}]")
    head = ["Benchmark", difference, "n", "p", "Significant", "Method"]
    return table(head, rows, ["left", "right", "right", "right", "left", "left"])


def _p_value(p: float) -> Markdown:
    return Markdown("< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}")


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


def _how(column: Column, member: Member, score: Score) -> tuple[object, ...]:
    provenance = result_of(member, column).provenance
    return score.scale, score.settings, provenance.get("harness"), provenance.get("judge")


def _recovered(column: Column, parent: Member, member: Member, book: Book) -> Iterator[list[str]]:
    before, after = column.score_of(parent), column.score_of(member)
    if before is None or after is None:
        return
    decimals = decimals_of(after, column)
    shown = [
        Markdown(with_interval(score.value, score.ci_low, score.ci_high, decimals))
        for score in (before, after)
    ]
    for one, score in ((parent, before), (member, after)):
        book.cite(one, column.heading, number(score.value, decimals), *column.made_of(one))
    if _how(column, parent, before) != _how(column, member, after):
        share = "not comparable: measured differently"
    elif not after.higher_is_better or before.value <= 0:
        share = EMPTY
    else:
        share = f"{number(100 * after.value / before.value, 1)} %"
    unit = unit_of(after)
    yield [f"{column.heading} ({unit})" if unit else column.heading, *shown, share]
