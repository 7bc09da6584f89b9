"""Judges by the rules that prompts and questions carry: exact, free, the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from evalkit.errors import Problem
from evalkit.records import Prompt, Question
from evalkit.roles import (
    GameRequest,
    Judge,
    Options,
    PairRequest,
    Progress,
    RatingRequest,
    Verdict,
)
from evalkit.rules import KINDS, check, problem


class RuleOptions(Options):
    """temperature: the score difference (scores are 0 to 1) that is worth a logit of 1."""

    temperature: float = Field(default=0.2, gt=0)


class RuleJudge(Judge):
    """Compares and rates by `rules.check`; what has no rule gets a Verdict without a value."""

    Options: ClassVar[type[Options]] = RuleOptions
    options: RuleOptions

    def identity(self) -> Mapping[str, Any]:
        """Name, version and temperature: there is no model behind it."""
        return {
            "name": "rule",
            "version": self.version,
            "temperature": self.options.temperature,
        }

    def check_prompts(self, prompts: Sequence[Prompt]) -> list[Problem]:
        """How many prompts have no rule, or one that cannot be followed."""
        return _rule_problems("prompts", [(prompt.id, prompt.rule) for prompt in prompts])

    def check_questions(self, questions: Sequence[Question]) -> list[Problem]:
        """How many turns have no rule, or one that cannot be followed."""
        turns = [
            (f"{question.id}, turn {number}", turn.rule)
            for question in questions
            for number, turn in enumerate(question.turns, start=1)
        ]
        return _rule_problems("turns", turns)

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        """Logits that are exactly opposite when the two responses change places."""
        scores: dict[tuple[str, str], float] = {}  # K responses are judged in K (K - 1) pairs
        verdicts = []
        for done, request in enumerate(requests, start=1):
            verdicts.append(self._compare(request, scores))
            progress(done, len(requests))
        return verdicts

    def rate(self, requests: Sequence[RatingRequest], progress: Progress) -> list[Verdict]:
        """1 for a worthless answer, 10 for a perfect one."""
        verdicts = []
        for done, request in enumerate(requests, start=1):
            verdicts.append(_rate(request))
            progress(done, len(requests))
        return verdicts

    def play(self, requests: Sequence[GameRequest], progress: Progress) -> list[Verdict]:
        """The logit of the difference between both last answers, 0 for equally good ones."""
        verdicts = []
        for done, request in enumerate(requests, start=1):
            first = _rate(RatingRequest(request.question, request.first))
            second = _rate(RatingRequest(request.question, request.second))
            verdicts.append(self._game(first, second))
            progress(done, len(requests))
        return verdicts

    def check_games(self, questions: Sequence[Question]) -> list[Problem]:
        """As for ratings."""
        return self.check_questions(questions)

    def _game(self, first: Verdict, second: Verdict) -> Verdict:
        if first.value is None or second.value is None:
            return first if first.value is None else second
        return Verdict((first.value - second.value) / 9.0 / self.options.temperature)

    def _compare(self, request: PairRequest, scores: dict[tuple[str, str], float]) -> Verdict:
        prompt = request.prompt
        if prompt.rule is None:
            return Verdict(None, f"prompt {prompt.id} has no rule")
        for response in (request.first, request.second):
            if (prompt.id, response) not in scores:
                scores[prompt.id, response] = check(prompt.rule, response)
        difference = scores[prompt.id, request.first] - scores[prompt.id, request.second]
        return Verdict(difference / self.options.temperature)


def _rule_problems(
    what: str, rules: Sequence[tuple[str, Mapping[str, Any] | None]]
) -> list[Problem]:
    """One problem for all that lack a rule, and one for all whose rule is bad; each names one."""
    without = [name for name, rule in rules if rule is None]
    bad = [
        (name, wrong)
        for name, rule in rules
        if rule is not None and (wrong := problem(rule)) is not None
    ]
    found = []
    if without:
        message = f"{len(without)} of {len(rules)} {what} have no rule, first {without[0]}"
        found.append(Problem("", message, "the rule judge needs one for each"))
    if bad:
        name, wrong = bad[0]
        message = f"{len(bad)} of {len(rules)} {what} have a bad rule, first {name}: {wrong}"
        found.append(
            Problem("", message, f"mend it in the data; kinds of rules: {', '.join(KINDS)}")
        )
    return found


def _rate(request: RatingRequest) -> Verdict:
    question, number = request.question, len(request.answers)
    if not 1 <= number <= len(question.turns):
        return Verdict(None, f"question {question.id} has no turn {number}")
    rule = question.turns[number - 1].rule
    if rule is None:
        return Verdict(None, f"turn {number} of question {question.id} has no rule")
    return Verdict(1.0 + 9.0 * check(rule, request.answers[-1]))


PLUGIN = RuleJudge
