"""A claim about where the data comes from that a listed data set contradicts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from evalkit.lint.context import Context
from evalkit.lint.datasets_named import NamedDataset, listed, trained_on
from evalkit.lint.facts import DatasetFacts, dataset_facts
from evalkit.lint.finding import Finding, Severity
from evalkit.lint.rule import Rule

_ONLY = r"(?:only|exclusively|solely|entirely|purely|100\s?%|nothing\s+but)"
_NO = (
    r"(?:\bno\b|\bnever\b|\bwithout(?:\s+(?:any|using|external))*|\bfree\s+of\b"
    r"|\bnot\s+(?:use|using|rely\s+on)\b)"
)
_MADE = (
    r"(?:data|outputs?|responses?|annotations?|labels?|feedback|supervision|preferences?|distill\w*"
    r"|generat\w*|judg\w*)"
)
_BY_PEOPLE = r"(?:data|annotat\w*|label\w*|feedback|preferences?|written|authored|supervision)"
_OPENAI = r"(?:GPT-?4|GPT-?3\.5|ChatGPT|OpenAI)"
_CLOSED = r"(?:proprietary|closed[- ]source|commercial)\s+(?:LL)?models?"
Contradiction = Callable[[DatasetFacts, re.Match[str]], str]


class _Claim(NamedTuple):
    """A claim as cards word it. against: what of a data set speaks against it, or empty.

    of_responses: it is about responses, of which a data set used for prompts says nothing.
    """

    form: re.Pattern[str]
    against: Contradiction
    of_responses: bool = True


def check(context: Context) -> Iterator[Finding]:
    """Every such claim, with the first data set that contradicts it."""
    card = context.card
    used = (*listed(card), *trained_on(card))
    for sentence in card.sentences:
        for claim in _CLAIMS:
            mark = claim.form.search(sentence.text)
            found = next(_contradicted(claim, mark, used), None) if mark else None
            if mark and found:
                named, facts, why = found
                yield Finding(
                    sentence.line,
                    f"the text claims '{' '.join(mark[0].split())}': {facts.name} holds {why}",
                    evidence=f"{named.id} in line {named.line}; {facts.source}",
                    fix="say which part of the data the claim is about, or take it out",
                    severity=_severity(claim, used),
                )
                break


def _contradicted(
    claim: _Claim, mark: re.Match[str], used: tuple[NamedDataset, ...]
) -> Iterator[tuple[NamedDataset, DatasetFacts, str]]:
    for named in used:
        facts = dataset_facts(named.id)
        why = claim.against(facts, mark) if facts is not None else ""
        if facts is not None and why:
            yield named, facts, why


def _severity(claim: _Claim, used: tuple[NamedDataset, ...]) -> Severity:
    """A warning where only prompts may have been taken, which the claim says nothing about."""
    prompts_only = claim.of_responses and any(one.for_prompts for one in used)
    return "warning" if prompts_only or not claim.of_responses else "error"


def _human(facts: DatasetFacts, mark: re.Match[str]) -> str:
    parts = [part for part in ("responses", "preferences") if part in facts.human]
    return f"{' and '.join(parts)} by people" if parts else ""


def _human_responses(facts: DatasetFacts, mark: re.Match[str]) -> str:
    return "responses that people wrote" if "responses" in facts.human else ""


def _human_anything(facts: DatasetFacts, mark: re.Match[str]) -> str:
    return f"{' and '.join(sorted(facts.human))} by people" if facts.human else ""


def _of_openai(facts: DatasetFacts, mark: re.Match[str]) -> str:
    wanted = "GPT-4" if re.search(r"GPT-?4", mark[0], re.I) else "GPT"
    made = [
        f"{part} by {model}"
        for part, models in facts.by.items()
        for model in models
        if model.startswith(wanted)
    ]
    return ", ".join(made)


def _of_models(facts: DatasetFacts, mark: re.Match[str]) -> str:
    return f"what {', '.join(facts.models)} wrote or chose" if facts.models else ""


def _claim(form: str, against: Contradiction, of_responses: bool = True) -> _Claim:
    return _Claim(re.compile(form, re.IGNORECASE), against, of_responses)


_CLAIMS = (
    _claim(
        rf"\ball\s+(?:the\s+)?responses\s+(?:used\s+)?(?:are|were)\s+{_ONLY}?\s*synthetic",
        _human_responses,
    ),
    _claim(
        rf"\b{_ONLY}\s+(?:on\s+|with\s+)?synthetic(?:ally\s+generated)?\s+data"
        r"|\bsynthetic[- ]only\b",
        _human_anything,
        of_responses=False,
    ),
    _claim(
        rf"{_NO}[^.;]{{0,30}}?\b(?:{_OPENAI}|{_CLOSED})"
        rf"(?:[^.;]{{0,20}}?\b{_MADE}|(?=\s*[.,;]|\s*$))"
        rf"|\b{_MADE}\s+(?:is|are|was|were|comes?)\s+(?:not|never)\s+(?:\w+\s+)?(?:from|by)\s+"
        rf"{_OPENAI}",
        _of_openai,
    ),
    _claim(rf"{_NO}\s+human[- ](?:\w+[- ]){{0,2}}{_BY_PEOPLE}", _human),
    _claim(
        rf"\b{_ONLY}\s+(?:on\s+|with\s+)?human[- ]"
        r"(?:written|generated|annotated|authored|curated|made)",
        _of_models,
    ),
)

RULE = Rule(
    code="EK408",
    name="data-origin",
    summary="A claim such as 'synthetic only' or 'no GPT-4' contradicts a data set of the card.",
    why="Such claims decide whether a model may be used at all: terms of service, licences,"
    " privacy.",
    check=check,
)
