"""Links to a licence's text that lead to another licence, or nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit import licences
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """`license_link` against the licence it belongs to, and links against what they are called."""
    yield from _license_link(context)
    for link in context.card.links:
        called, leads = licences.normalised(link.text), licences.linked(link.target)
        if called and leads and not licences.is_same(called, leads):
            yield Finding(
                link.line,
                f"a link called '{link.text}' leads to the text of {leads}",
                evidence=link.target,
                fix="link the licence that it names",
            )


def _license_link(context: Context) -> Iterator[Finding]:
    card = context.card
    target = card.metadata.get("license_link")
    if not isinstance(target, str) or not target:
        return
    line = card.key_line("license_link")
    stated = licences.identified(card.metadata.get("license"), card.metadata.get("license_name"))
    leads = licences.linked(target)
    if stated and leads and not licences.is_same(stated, leads):
        message = f"license_link leads to the text of {leads}, and the licence is {stated}"
        yield Finding(line, message, target, f"link the text of {stated}")
    path = target.removeprefix("./")
    if context.files is not None and "://" not in target and path not in context.files:
        message = f"license_link names {target}, which is not in the repository"
        yield Finding(line, message, fix="put the licence's text there")


RULE = Rule(
    code="EK206",
    name="license-link",
    summary="A link to a licence's text leads to another's, or to a file that is not there.",
    why="The text behind the link is what readers go by.",
    check=check,
)
