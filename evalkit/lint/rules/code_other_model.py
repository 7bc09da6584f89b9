"""Code on the card that loads another model than the card's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.names import iteration_in, plain
from evalkit.lint.rule import Rule
from evalkit.lint.subject import Subject

_ID = r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
_LOADS = (
    re.compile(
        rf"\b(?:AutoModel\w*|\w+ForCausalLM|AutoPeftModel\w*)\.from_pretrained\(\s*[\"']{_ID}[\"']"
    ),
    re.compile(rf"\bmodel(?:_id|_name|_path|_name_or_path)?\s*=\s*[\"']{_ID}[\"']"),
    re.compile(rf"\bvllm\s+serve\s+[\"']?{_ID}"),
    re.compile(rf"--model(?:_name|-id|-path)?[ =][\"']?{_ID}"),
)
_PLACEHOLDER = re.compile(r"^(?:path|your|my|user|username|org|owner|local)[\w-]*/|/your", re.I)
_USE = re.compile(r"\bus(?:e|age|ing)\b|quick ?start|how to|get started|inference|deploy", re.I)


class Load(NamedTuple):
    """A model that code loads, by its id."""

    line: int
    id: str


def check(context: Context) -> Iterator[Finding]:
    """Nothing where any code loads the card's own model, or its name is not known."""
    subject = context.subject
    loads = list(_loads(context))
    if not subject.names or any(subject.is_called(load.id) for load in loads):
        return
    told: set[str] = set()
    for load in loads:
        why = _why(subject, load)
        if why and load.id not in told:
            told.add(load.id)
            yield Finding(
                load.line,
                f"the code loads {load.id}, {why}",
                evidence=f"the card is of {subject.names[0].text}",
                fix="load the model that the card is about",
                severity="error" if why.startswith("iteration") else None,
            )


def _loads(context: Context) -> Iterator[Load]:
    for line in context.card.body:
        if line.kind == "code":
            for mark in (found for form in _LOADS for found in form.finditer(line.text)):
                if not _PLACEHOLDER.search(mark["id"]):
                    yield Load(line.number, mark["id"])


def _why(subject: Subject, load: Load) -> str:
    for name in subject.names:
        ours, theirs = iteration_in(name.text), iteration_in(load.id)
        if None not in (ours, theirs) and ours != theirs and _but_iteration(name.text, load.id):
            return f"iteration {theirs} instead of {ours}"
    section = subject.card.section_of(load.line)
    if (
        subject.relation in ("adapter", "merge")
        or section is None
        or not _USE.search(section.title)
    ):
        return ""
    if subject.is_base(load.id):
        return "which is only what it was made from"
    return ""


def _but_iteration(name: str, other: str) -> bool:
    """Whether two names are the same but for their iterations."""
    first, second = (
        re.sub(r"iter(?:ation)?[-_ ]?\d+", "", one, flags=re.I) for one in (name, other)
    )
    return plain(first) == plain(second)


RULE = Rule(
    code="EK508",
    name="code-other-model",
    summary="The code that shows how to use the model loads another one.",
    why="Whoever copies it measures and serves the base, or the wrong iteration.",
    check=check,
    severity="warning",
)
