"""The records behind a family's numbers, and which number of a card rests on which of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from evalkit.cards import values
from evalkit.cards.links import repository
from evalkit.errors import CardError
from evalkit.family import Family, Member
from evalkit.leaderboard import Found
from evalkit.markdown import Markdown
from evalkit.recipe_document import plugin_text
from evalkit.records import ResultSet, Score, dumps
from evalkit.score_records import FOLDER, Citation, Origin, ScoreRecord, unknown
from evalkit.standings import Standings, made_of, number, reported_mean

_NOT_STATED = frozenset({"imported", "reported"})  # of provenance: told by the record itself


class Book:
    """Records that a card may rest on, and the numbers of the card that were looked up so far."""

    def __init__(self, records: Iterable[ScoreRecord]) -> None:
        self.records = tuple(records)
        self.citations: list[Citation] = []
        self._by_score = {(one.model, one.benchmark, dumps(one.score)): one for one in self.records}

    def cite(self, member: Member, name: str, shown: str, *found: Found) -> list[ScoreRecord]:
        """The records of a number that is about to be shown.

        name: what the card calls it. found: the scores that it is made of.

        Raises:
            CardError: a score has no record, or its record says otherwise.
        """
        records = [self._record(member, score, result) for score, result in found]
        digests = tuple(record.digest for record in records)
        self.citations.append(Citation(member.title, name, shown, digests))
        return records

    def _record(self, member: Member, score: Score, result: ResultSet) -> ScoreRecord:
        key = (member.title, result.benchmark, dumps(_told(score)))
        if key not in self._by_score:
            raise CardError(
                f"no record says {score.value} for {score.metric} of {score.task}"
                f" ({result.benchmark}), model {member.title}",
                "a card shows recorded numbers alone: measure or import it again",
            )
        return self._by_score[key]


def cite_standings(book: Book, standings: Standings) -> None:
    """Looks up every number of a table.

    Raises:
        CardError: one has no record.
    """
    columns = {column.heading: column for column in standings.definition.columns}
    averages = {average.label: average for average in standings.definition.averages}
    for row in standings.rows:
        for label, cell in zip(standings.labels, row.cells, strict=True):
            if cell is not None:
                told = reported_mean(averages[label], row.member) if label in averages else None
                headings = averages[label].of if label in averages else (label,)
                found = [one for name in headings for one in made_of(columns[name], row.member)]
                rests_on = found if told is None else [told]
                book.cite(row.member, label, number(cell.value, cell.decimals), *rests_on)


def record_link(record: ScoreRecord) -> Markdown:
    """The origin of a score, linked to its record beside the card."""
    return Markdown(f"[{record.origin}]({FOLDER}/{record.digest}.json)")


def records_of(family: Family) -> Iterator[ScoreRecord]:
    """A record of every score of every member, those without overlapping items included.

    Raises:
        CardError: a score is not finite, or lacks what its origin requires.
    """
    for member in (*family.members, *family.baselines):
        for result in member.results:
            origin, source = _source(family, member, result)
            for score in (*result.scores, *result.clean_scores):
                facts = source if origin != "measured" else {**source, **_of_score(result, score)}
                told = _told(score)
                yield ScoreRecord(member.title, result.benchmark, told, origin, facts)


def harness_of(family: Family, result: ResultSet) -> str:
    """What computed the scores, with its version.

    Raises:
        CardError: nothing says so.
    """
    stated = result.provenance.get("harness")
    if stated:
        return str(stated)
    if "evalkit" in family.versions:
        return f"evalkit {family.versions['evalkit']}"
    raise CardError(f"no record says which harness measured {result.benchmark}")


def _source(family: Family, member: Member, result: ResultSet) -> tuple[Origin, dict[str, Any]]:
    """The origin of all scores of a result, and what is said of them alike."""
    said = values.portable(result.provenance)
    if "reported" in said:
        return "reported", dict(said["reported"])
    if "imported" in said:
        stated = {key: value for key, value in said.items() if key not in _NOT_STATED}
        return "imported", {**said["imported"], "stated": stated}
    return "measured", {
        "weights": result.checkpoint_digest,
        "harness": harness_of(family, result),
        "judge": said.get("judge"),
        "seed": _or_unknown(said, "seed", result),
        "command": command_of(family, member, result.benchmark),
        "versions": said.get("versions", {}),
    }


def _of_score(result: ResultSet, score: Score) -> dict[str, Any]:
    """What a measured result says of one score alone."""
    said = values.portable(result.provenance)
    data = _or_unknown(said, "data", result)
    shots = score.settings.get("few_shot", said.get("few_shot"))
    template = _or_unknown(said, "chat_template_sha256", result)
    reason = f"no interval is defined for {score.metric}"
    return {
        "data": data.get(score.task, data) if isinstance(data, Mapping) else data,
        "few_shot": unknown(f"{result.benchmark} does not say") if shots is None else shots,
        "chat_template": None if score.settings.get("chat_template") is False else template,
        "interval": unknown(reason)
        if score.ci_low is None
        else _or_unknown(said, "intervals", result),
    }


def _or_unknown(said: Mapping[str, Any], key: str, result: ResultSet) -> Any:
    return said[key] if key in said else unknown(f"{result.benchmark} does not say")


def _told(score: Score) -> Score:
    """A score as records keep it: without places on this machine."""
    return replace(score, settings=values.portable(score.settings))


def command_of(family: Family, member: Member, benchmark: str) -> Any:
    """What measures a member with a benchmark of its recipe again."""
    evaluation = family.recipe.get("evaluation") or {}
    asked = next(
        (one for one in evaluation.get("benchmarks") or () if _key(one) == benchmark), None
    )
    if asked is None:
        return unknown("the recipe does not name the benchmark")
    flags = [("--benchmark", asked), ("--judge", evaluation.get("judge")),
             ("--engine", family.recipe.get("engine"))]  # fmt: skip
    words = ["evalkit", "evaluate", repository(family, member) or f"./{member.title}"]
    for flag, value in flags:
        words += [flag, plugin_text(values.portable(value))] if value else []
    return shlex.join([*words, "--set", f"seed={family.recipe.get('seed', 0)}"])


def _key(reference: Any) -> str:
    name = str(reference["name"] if isinstance(reference, Mapping) else reference)
    return name.rsplit("/", 1)[-1].removesuffix(".py").replace("-", "_")
