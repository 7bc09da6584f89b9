"""A link whose text names one model and whose address leads to another."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.hub_places import hub_model
from evalkit.lint.names import iteration_in, plain, sizes_in
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """Links to models whose size or iteration is not that of the text."""
    for link in context.card.links:
        target = hub_model(link.target)
        text = re.sub(r"[*_`]", "", link.text)
        if not target or not text or link.is_image or plain(text) == plain(target):
            continue
        why = _difference(text, target.rpartition("/")[2])
        if why:
            yield Finding(
                link.line,
                f"the link says {text.strip()} and leads to {target}: {why}",
                evidence=link.target,
                fix="correct the address or the text",
            )


def _difference(text: str, target: str) -> str:
    shown, led = iteration_in(text), iteration_in(target)
    if shown is not None and led is not None and shown != led:
        return f"iteration {shown} against {led}"
    ours, theirs = sizes_in(text), sizes_in(target)
    if len(ours) == len(theirs) == 1 and not (
        ours[0].agrees(theirs[0].parameters, 0.2) or theirs[0].agrees(ours[0].parameters, 0.2)
    ):
        return f"{ours[0].text} against {theirs[0].text}"
    return ""


RULE = Rule(
    code="EK410",
    name="link-elsewhere",
    summary="A link's text names one model, its address leads to another.",
    why="Rows of family tables are copied, and the reader downloads the wrong iteration.",
    check=check,
)
