"""What a quantized model keeps of its parent's scores: both beside each other, and the share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.cards.evaluation import CONFIDENCE
from evalkit.cards.lineage import parent_of
from evalkit.cards.links import RESULTS_FOLDER
from evalkit.cards.recording import Book
from evalkit.family import Family, Member
from evalkit.leaderboard import Column
from evalkit.markdown import Markdown, escape, link, table
from evalkit.records import Score
from evalkit.standings import EMPTY, decimals_of, number, result_of, unit_of, with_interval

RECOVERY_FILE = f"{RESULTS_FOLDER}/recovery.json"


@dataclass(frozen=True)
class Kept:
    """The table, the sentence on the mean of all its lines, that on perplexity, and who computed.

    Each is empty where there is nothing to say.
    """

    table: Markdown
    average: Markdown
    perplexity: Markdown
    computed: Markdown


def kept(family: Family, member: Member, columns: Sequence[Column], book: Book) -> Kept | None:
    """None for what is not quantized."""
    parent = parent_of(family, member)
    stated = member.imported is not None and member.imported.relation == "quantized"
    if parent is None or not (member.variant or stated):
        return None
    facts = (member.variant.recovery if member.variant else None) or {}
    found = {line["label"]: line for line in facts.get("lines", ())}
    rows = [row for one in columns for row in _rows(one, parent, member, book, found)]
    head = ["Benchmark", parent.title, member.title, Markdown(f"Recovery [{CONFIDENCE}]")]
    return Kept(
        table=table(head, rows, ["left", "right", "right", "right"]) if rows else Markdown(""),
        average=_average(facts),
        perplexity=_perplexity(facts),
        computed=_computed(family, member) if facts else Markdown(""),
    )


def _rows(
    column: Column, parent: Member, member: Member, book: Book, found: Mapping[str, Any]
) -> Iterator[list[str]]:
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
        share = _share(after.value / before.value, found.get(column.heading))
    unit = unit_of(after)
    yield [f"{column.heading} ({unit})" if unit else column.heading, *shown, Markdown(share)]


def _share(share: float, line: Mapping[str, Any] | None) -> str:
    """A recovery in percent; with an interval where items were compared one by one."""
    low, high = (line["low"], line["high"]) if line else (None, None)
    low, high = (None if limit is None else 100 * limit for limit in (low, high))
    return f"{with_interval(100 * share, low, high, 1)} %"


def _how(column: Column, member: Member, score: Score) -> tuple[object, ...]:
    provenance = result_of(member, column).provenance
    return score.scale, score.settings, provenance.get("harness"), provenance.get("judge")


def _average(facts: Mapping[str, Any]) -> Markdown:
    lines = facts.get("lines", ())
    if len(lines) < 3 or lines[-1]["share"] is None:  # of one benchmark it says nothing more
        return Markdown("")
    share = _share(lines[-1]["share"], lines[-1])
    return Markdown(
        f"On the mean of {len(lines) - 1} benchmarks, each as a percentage of its best score, "
        f"{share} is kept; {escape(facts['method'])}."
    )


def _perplexity(facts: Mapping[str, Any]) -> Markdown:
    found = facts.get("perplexity")
    if not found:
        return Markdown("")
    before, after = (number(found[key], 3) for key in ("parent", "variant"))
    return Markdown(
        f"Perplexity of responses: {after}, of the parent {before} ({found['tokens']:,} tokens of "
        f"{found['conversations']:,} conversations that no calibration saw; "
        f"{link('all figures', RECOVERY_FILE)})."
    )


def _computed(family: Family, member: Member) -> Markdown:
    engine = str((family.recipe.get("engine") or {}).get("name", "transformers"))
    answers = "answers were generated so, too"
    if engine != "transformers":
        kernels = "whose kernels compute on the compressed weights"
        answers = f"answers were generated with {escape(engine)}, {kernels}"
    return Markdown(
        "Log-likelihoods and perplexity are of the weights as transformers decompresses them to "
        f"16 bits; {answers}."
    )
