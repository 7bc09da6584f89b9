"""Figures that sentences state: "a win rate of 23.51 %", "65.02 on arc_challenge".

A number counts only where the words beside it name its task or metric, and where it is clear whose
it is; differences, bounds and rough numbers do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from evalkit.card_reading.figure import Figure
from evalkit.card_reading.model_names import OwnNames, Subject
from evalkit.card_reading.numbers import value_of
from evalkit.card_reading.surroundings import Surroundings
from evalkit.card_reading.tables import plain
from evalkit.card_reading.task_names import AVERAGE, Name, leaderboard_in, shots_in

_NUMBER = re.compile(
    r"(?<![\w.,\-−/=@^$#])(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)\s?(?P<percent>%)?"
    r"(?![\w@]|\.\d|-\w|/\d|[–-]\s?\d)"
)
_AVERAGE = re.compile(
    r"\b(?:average|avg\.?|mean)(?!\s+(?:length|recovery))(?:\s+(?:score|accuracy|performance))?",
    re.IGNORECASE,
)
_OF = re.compile(r"\s+(?:of|over|across|on)\b", re.IGNORECASE)
_SAID_OF = r"(?:\s+(?:scores?|rate|accuracy|result|performance|rating))?"
_NOTE = r"(?:\s*\(\s*\d+[\s-]shots?\s*\))?"
_BEFORE = re.compile(rf"{_NOTE}{_SAID_OF}\s*(?P<bond>of|:|is|was|=|at|\(|–|—|-|)\s*", re.IGNORECASE)
_AFTER_METRIC = re.compile(r"\s*")
_AFTER_TASK = re.compile(r"\s*(?:points?\s+)?(?:accuracy\s+|score\s+)?(?:on|in|for)\s+(?:the\s+)?")
_NO_SCORE_BEFORE = re.compile(
    r"(?:\b(?:by|gains?|improves?|improved|improving|within|over|under|above|below|than|least|most|"
    r"top|from|to|between|nearly|almost|around|roughly|about|approximately|up|margin of|gain of|"
    r"(?:improvement|increase|drop|difference|loss|decrease) of)|[~≈<>+±])\s*(?:an?\s+)?$",
    re.IGNORECASE,
)
_NO_SCORE_AFTER = re.compile(
    r"\s*(?:percentage\s+)?(?:points?|pp|percent)?\s*\b(?:higher|lower|better|worse|more|less|improve\w*|"
    r"increase|gain|drop|decrease|reduction|relative|recovery|above|below|ahead|of the|compared)\b",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(?:achiev(?:es|ed|ing|e)|reach(?:es|ed|ing)?|obtain(?:s|ed)?|attain(?:s|ed)?|gets|got|has|had"
    r"|(?:scor(?:es|ed)|record(?:s|ed)|hits?|yield(?:s|ed)?)(?=\s+(?:an?\b|\d)))\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:()–—]|\b(?:whereas|while|and|but|which|that|than|where|when|as)\b", re.I)
_IT = re.compile(
    r"^(?:(?:on|in|for|with|after|overall)\b.*\s)?(?:it|we|this|ours?|(?:this|our|the)(?:\s+(?:final|resulting|trained|fine-tuned|aligned|"
    r"quantized|quantised|released))?\s+(?:model|checkpoint|version|iteration))$|^$",
    re.IGNORECASE,
)
_PARENT = re.compile(
    r"^(?:the|its)\s+(?:[\w-]+\s+)?(?:unquantized|unquantised|original|base|baseline|parent|"
    r"full-precision|reference)(?:\s+model|\s+checkpoint|\s+version)?$",
    re.IGNORECASE,
)
_MODEL = re.compile(r"(?:^|\s)(?P<name>[\w/+-][\w./+-]*(?:\s+[\w./+-]*[A-Z0-9][\w./+-]*)*)$")
# What a number that "on" a task follows belongs to, if it is a score: a temperature of 0.7 is none.
_OF_SOMETHING = re.compile(
    r"\b(?!(?:scores?|accurac(?:y|ies)|average|results?|rate|performance|rating|mean)\b)\w+\s*"
    r"(?:\bof|=|:|\bis|\bwas)\s*$",
    re.IGNORECASE,
)
# Other quantities that sentences give for a task; "93 % on GSM8K" of them is no score.
_OTHER_QUANTITY = re.compile(
    r"\b(?:savings?|agree\w*|speed-?ups?|throughput|faster|latency|memory|contaminat\w*|overlaps?"
    r"|correlat\w*|reduc\w*|improve\w*|gains?|increas\w*|decreas\w*|drops?|degradation|errors?"
    r"|recover\w*|retain\w*|costs?|accept\w*)\b",
    re.IGNORECASE,
)
_VERSION = re.compile(r"\bversions?\s*[:,]", re.IGNORECASE)
_MODEL_LIKE = re.compile(r"\b[\w.]+/[\w.-]*\d[\w.-]*|\b[A-Za-z][\w.]*-[\w.-]*\d[\w.-]*")
_COMPARES = re.compile(r"\b(?:vs|versus|compared|outperform\w*|surpass\w*|against|than)\b", re.I)
_LONGEST = 2_000  # characters; what is longer is a list or a dump, and no sentence


class _Named(NamedTuple):
    start: int
    end: int
    name: Name


class _Number(NamedTuple):
    start: int
    end: int
    text: str
    value: float
    decimals: int


def prose_figures(around: Surroundings, own: OwnNames) -> Iterator[Figure]:
    """The figures of all sentences, in order."""
    for sentence in around.card.sentences:
        text = plain(sentence.text) if len(sentence.text) <= _LONGEST else ""
        numbers = list(_numbers(text))
        if numbers:
            yield from _Sentence(text, sentence.line, around, own).figures(numbers)


def _numbers(text: str) -> Iterator[_Number]:
    for mark in _NUMBER.finditer(text):
        before, after = text[: mark.start()], text[mark.end() :]
        is_score = not _NO_SCORE_BEFORE.search(before) and not _NO_SCORE_AFTER.match(after)
        if is_score and not _VERSION.search(before):
            yield _Number(mark.start(), mark.end(), mark[0], *value_of(mark["digits"]))


class _Sentence:
    """A sentence without its markup, and what it names."""

    def __init__(self, text: str, line: int, around: Surroundings, own: OwnNames) -> None:
        self.text, self.line, self.around, self.own = text, line, around, own
        self.verbs = list(_VERB.finditer(text))
        self.names = [
            _Named(mark.start(), mark.end(), name)
            for mark in around.vocabulary.in_prose.finditer(text)
            if (name := around.vocabulary.name_of(mark[0]))
        ]
        self.names += [
            _Named(mark.start(), mark.end(), Name(AVERAGE, kind="average"))
            for mark in _AVERAGE.finditer(text)
        ]

    def figures(self, numbers: Sequence[_Number]) -> Iterator[Figure]:
        """Its figures in order."""
        found: list[Figure] = []
        for number in numbers:
            whose, name = self._subject(number), self._name(number)
            if name is None and found and whose is not None and self._follows_verb(number):
                name = Name(found[-1].task, found[-1].metric, found[-1].settings)
            if whose is None or name is None or not _is_precise(number, name):
                continue
            found.append(self._figure(number, name, whose))
        yield from self.around.settled(found, leaderboard_in(self.text))

    def _figure(self, number: _Number, name: Name, whose: Subject) -> Figure:
        return Figure(
            line=self.line,
            text=number.text,
            value=number.value,
            decimals=number.decimals,
            model=None if whose.is_own else whose.name,
            task=name.task or "",
            metric=name.metric,
            where="prose",
            settings=name.settings,
            scale=self.around.vocabulary.scale(name.task, name.metric),
            repo=whose.repo,
        )

    # --- which task --------------------------------------------------------------------------

    def _name(self, number: _Number) -> Name | None:
        before, bond = self._name_before(number)
        after = self._name_after(number)
        if before and after and not bond and before.name.task and after.name.metric:
            return replace(after.name, task=before.name.task)
        named = before if before and (bond or not after) else after
        if named is None:
            return None
        shots = shots_in(self.text[named.end : named.end + 12])
        name = replace(named.name, settings={} if shots is None else {"few_shot": shots})
        return self._average(name) if name.kind == "average" else self._with_task(name)

    def _name_before(self, number: _Number) -> tuple[_Named | None, str]:
        before = [named for named in self.names if named.end <= number.start]
        if not before:
            return None, ""
        nearest = max(before, key=lambda named: named.end)
        bond = _BEFORE.fullmatch(self.text[nearest.end : number.start])
        if bond is None or self._is_of_several(nearest):
            return None, ""
        return nearest, bond["bond"]

    def _is_of_several(self, last: _Named) -> bool:
        """Whether a task is the last of those that an average is said to be of."""
        averages = [one for one in self.names
                    if one.name.kind == "average" and one.end <= last.start]  # fmt: skip
        if not averages or last.name.kind == "average":
            return False
        start = max(one.end for one in averages)
        named = {one.name.task for one in self.names if start <= one.start <= last.start}
        between = self.text[start : last.start]
        return len(named) > 1 and bool(_OF.match(between)) and not _NUMBER.search(between)

    def _name_after(self, number: _Number) -> _Named | None:
        after = [named for named in self.names if named.start >= number.end]
        if not after:
            return None
        nearest = min(after, key=lambda named: named.start)
        pattern = _AFTER_TASK if nearest.name.task else _AFTER_METRIC
        before = self.text[: number.start]
        if _OTHER_QUANTITY.search(before) or (nearest.name.task and _OF_SOMETHING.search(before)):
            return None
        between = self.text[number.end : nearest.start]
        return nearest if pattern.fullmatch(between) else None

    def _average(self, name: Name) -> Name | None:
        """What an average is of: a leaderboard's tasks, or the one task that the sentence names."""
        if leaderboard_in(self.text):
            return name
        tasks = {named.name.task for named in self.names if named.name.task} - {AVERAGE}
        if len(tasks) == 1:
            return Name(tasks.pop(), settings=name.settings)
        return name if not tasks and self.around.leaderboard(self.line) else None

    def _with_task(self, name: Name) -> Name | None:
        return self.around.named(name, [named.name for named in self.names], self.line)

    # --- whose -------------------------------------------------------------------------------

    def _subject(self, number: _Number) -> Subject | None:
        """Whose a number is; None where that is not clear."""
        verbs = [mark for mark in self.verbs if mark.end() <= number.start]
        if not verbs:
            return None if self._speaks_of_others else Subject("", is_own=True)
        phrase = _CLAUSE.split(self.text[: verbs[-1].start()])[-1].strip()
        return self._named_by(phrase)

    def _named_by(self, phrase: str) -> Subject | None:
        if _IT.match(phrase):
            return Subject("", is_own=True)
        if _PARENT.match(phrase):
            return Subject(phrase)
        mark = _MODEL.search(phrase)
        if mark is None:
            return None
        subject = self.own.subject(mark["name"])
        is_clear = subject.is_own or any(one.isdigit() for one in mark["name"])
        return subject if is_clear else None

    @cached_property
    def _speaks_of_others(self) -> bool:
        """Whether it compares models, or names one that is not the card's own."""
        rest = self.text
        for named in self.names:
            rest = rest[: named.start] + " " * (named.end - named.start) + rest[named.end :]
        models = (self.own.subject(mark[0]) for mark in _MODEL_LIKE.finditer(rest))
        return bool(_COMPARES.search(rest)) or any(not model.is_own for model in models)

    def _follows_verb(self, number: _Number) -> bool:
        return any(not self.text[mark.end() : number.start].strip() for mark in self.verbs
                   if mark.end() <= number.start)  # fmt: skip


def _is_precise(number: _Number, name: Name) -> bool:
    """Whether a number is written as scores are: with decimals, a per cent sign, or as a count."""
    return bool(number.decimals or number.text.endswith("%") or name.metric == "avg_length")
