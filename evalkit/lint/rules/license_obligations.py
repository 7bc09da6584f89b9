"""What the licences of its bases ask of a model, its card and its repository."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit import licences
from evalkit.baselines import known
from evalkit.licences import Terms
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.licence_chain import Held, held
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """Name, line and files, each once per licence."""
    by_licence: dict[str, Held] = {}
    for one in held(context):
        by_licence.setdefault(one.licence, one)
    for one in by_licence.values():
        terms = licences.terms(one.licence)
        if terms is not None:
            yield from _name(context, one, terms)
            yield from _built_with(context, one, terms)
            yield from _files(context, one, terms)


def _name(context: Context, one: Held, terms: Terms) -> Iterator[Finding]:
    prefix, names = terms.must.name_prefix, context.subject.names
    if not prefix or not names or any(licences.begins_with(name.text, prefix) for name in names):
        return
    name = names[0]
    # A title, or the folder of a training run, need not be the name in the repository.
    is_id = "/" in name.text or known(name.text) is not None
    yield Finding(
        max(name.line, 1),
        f"the {terms.name} asks that the name of a derivative begins with '{prefix}'",
        evidence=f"it is '{name.text}'; {one.model} is under {one.licence} ({terms.source})",
        fix=f"call it {prefix.replace(' ', '-')}-...",
        severity="error" if is_id and one.base.sure else "warning",
    )


def _built_with(context: Context, one: Held, terms: Terms) -> Iterator[Finding]:
    lines = terms.must.built_with
    text = " ".join(" ".join(line.text for line in context.card.body).lower().split())
    if lines and not any(line.lower() in text for line in lines):
        wanted = "' or '".join(lines)
        yield Finding(
            one.base.line,
            f"the {terms.name} asks for '{wanted}' to be shown prominently",
            evidence=f"{one.model} is under {one.licence} ({terms.source})",
            fix=f"add '{lines[0]}' to the card",
            severity="warning",  # it may stand on a website instead
        )


def _files(context: Context, one: Held, terms: Terms) -> Iterator[Finding]:
    if context.folder is None or context.files is None:
        return
    evidence = f"{one.model} is under {one.licence} ({terms.source})"
    top = {path for path in context.files if "/" not in path}
    if terms.must.notice:
        notices = [path for path in top if "notice" in path.lower()]
        texts = [(context.folder / path).read_text("utf-8", "replace") for path in notices]
        if not any(" ".join(terms.must.notice.split()) in " ".join(text.split()) for text in texts):
            yield Finding(
                0,
                f"the {terms.name} asks for a file NOTICE with its notice",
                evidence=evidence,
                fix=f"add NOTICE: {terms.must.notice}",
                severity="error" if one.base.sure else "warning",
            )
    if terms.must.copy and not any(
        "licen" in path.lower() or "terms" in path.lower() for path in top
    ):
        yield Finding(
            0,
            f"the {terms.name} asks for its text to be handed on",
            evidence=evidence,
            fix=f"add LICENSE, the text at {terms.source}",
            severity="warning",  # an address of it on the card may do
        )


RULE = Rule(
    code="EK203",
    name="license-obligations",
    summary="What a base's licence asks for is not there: a name, a 'Built with' line, a notice.",
    why="The right to publish a derivative hangs on it.",
    check=check,
)
