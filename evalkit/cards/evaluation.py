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
from evalkit.errors import CardError
from evalkit.family import Family, Member
from evalkit.leaderboard import Column, label
from evalkit.markdown import Markdown, code, escape, table
from evalkit.records import Comparison, ResultSet, Score
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
_SHOWN_APART = ("harness", "judge", "versions", "imported", "contamination")


@dataclass(frozen=True)
class Measured:
    """One suite on the card: its protocol and all its scores.

    origin: where they came from, if another tool measured them; empty if evalkit did.
    caution: why its judge is to be read with care; empty where nothing says so.
    overlap: what of its items the training data holds; empty if that was not looked for.
    """

    benchmark: str
    title: str
    harness: str
    judge: str
    files: Markdown
    protocol: Markdown
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


def measured(family: Family, member: Member) -> list[Measured]:
    """Every suite this member was measured on."""
    return [
        Measured(
            benchmark=result.benchmark,
            title=label("benchmarks", result.benchmark),
            harness=harness(family, result),
            judge=judge_name(values.portable(result.provenance)),
            files=results_link(result.benchmark),
            protocol=_protocol(family, result),
            scores=_scores(result),
            origin=_origin(result),
            caution=_caution(result),
            overlap=overlap(result),
        )
        for result in member.results
    ]


def harness(family: Family, result: ResultSet) -> str:
    """What computed the scores, with its version.

    Raises:
        CardError: nothing says so.
    """
    stated = result.provenance.get("harness")
    if stated:
        suite = sources.benchmark(result.benchmark)
        name, _, rest = str(stated).partition(" ")
        return f"{suite['harness_label']} {rest}" if name == suite.get("harness") else str(stated)
    if "evalkit" in family.versions:
        return f"evalkit {family.versions['evalkit']}"
    raise CardError(f"no record says which harness measured {result.benchmark}")


def _caution(result: ResultSet) -> Markdown:
    """What the audit of a judge found that a reader must know before the numbers."""
    found = result.provenance.get("judge_audit") or {}
    kin = found.get("self_preference")
    if not kin:
        return Markdown("")
    return Markdown(f"**Caution**: {escape(str(kin))}. Judges tend to prefer their own kind.")


def _origin(result: ResultSet) -> Markdown:
    imported = result.provenance.get("imported")
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


def recovery(family: Family, member: Member, columns: Sequence[Column]) -> Markdown:
    """Each headline of a variant beside its parent's, and the share of it that is left."""
    parent = parent_of(family, member)
    assert parent is not None
    rows = [row for column in columns for row in _recovered(column, parent, member)]
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


def _scores(result: ResultSet) -> Markdown:
    rows = [
        [
            f"{label('tasks', score.task)}: {label('metrics', score.metric).replace('_', ' ')}",
            _value(score),
            str(score.n),
            str(score.missing),
            Markdown("") if score.higher_is_better else "lower is better",
        ]
        for score in result.scores
    ]
    head = ["Task: metric", Markdown(f"Value [{CONFIDENCE}]"), "n", "Missing", ""]
    if all(score.higher_is_better for score in result.scores):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows, ["left", "right", "right", "right"])


def _value(score: Score) -> Markdown:
    unit = unit_of(score)
    shown = with_interval(score.value, score.ci_low, score.ci_high, decimals_of(score))
    return Markdown(f"{shown} {unit}" if unit == "%" else shown)


def _protocol(family: Family, result: ResultSet) -> Markdown:
    """Everything the record says about how, as a list; the harness and the judge stand first."""
    facts = {k: v for k, v in result.provenance.items() if k not in _SHOWN_APART}
    rows: list[tuple[str, Markdown]] = [("harness", escape(harness(family, result)))]
    judge = result.provenance.get("judge")
    if judge:
        rows.append(("judge", values.shown(judge)))
    rows += _settings(result)
    rows += list(values.rows(facts))
    versions = result.provenance.get("versions")
    if versions:
        rows.append(("versions", values.shown(versions)))
    return Markdown("\n".join(f"- {escape(name)}: {value}" for name, value in rows if value))


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


def _recovered(column: Column, parent: Member, member: Member) -> Iterator[list[str]]:
    before, after = column.score_of(parent), column.score_of(member)
    if before is None or after is None:
        return
    decimals = decimals_of(after, column)
    shown = [
        Markdown(with_interval(score.value, score.ci_low, score.ci_high, decimals))
        for score in (before, after)
    ]
    if _how(column, parent, before) != _how(column, member, after):
        share = "not comparable: measured differently"
    elif not after.higher_is_better or before.value <= 0:
        share = EMPTY
    else:
        share = f"{number(100 * after.value / before.value, 1)} %"
    unit = unit_of(after)
    yield [f"{column.heading} ({unit})" if unit else column.heading, *shown, share]
