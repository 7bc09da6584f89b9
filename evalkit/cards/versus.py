"""A model beside its parent and its base: what is better, what is worse, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.cards.evaluation import CONFIDENCE
from evalkit.cards.lineage import parent_of
from evalkit.cards.links import member_link
from evalkit.errors import CardError
from evalkit.family import Family, Member
from evalkit.leaderboard import Column
from evalkit.markdown import Markdown, escape, table
from evalkit.records import Comparison, Score
from evalkit.standings import decimals_of, with_interval

_POINTS = {"percent": " points", "rating": " rating points"}


@dataclass(frozen=True)
class Versus:
    """This model against one other: a verdict in one sentence, and the table behind it."""

    other: Markdown
    verdict: Markdown
    differences: Markdown


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
