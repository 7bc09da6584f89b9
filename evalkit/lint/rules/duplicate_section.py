"""A section that stands twice at the same place of the outline."""

from __future__ import annotations

from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule


def check(context: Context) -> Iterator[Finding]:
    """The second and later ones; what lies within one of these is not told again."""
    first: dict[tuple[str, ...], int] = {}
    outline: list[tuple[int, str]] = []
    told_until = 0
    for section in context.card.sections:
        while outline and outline[-1][0] >= section.level:
            outline.pop()
        outline.append((section.level, " ".join(section.title.lower().split())))
        path = tuple(title for _, title in outline)
        if not path[-1] or first.setdefault(path, section.line) == section.line:
            continue
        if section.line > told_until:
            told_until = section.end
            yield Finding(
                section.line,
                f"the section '{section.title}' stands twice",
                evidence=f"first in line {first[path]}",
                fix="keep one of them, with what both say",
            )


RULE = Rule(
    code="EK505",
    name="duplicate-section",
    summary="A section stands twice at the same place of the outline.",
    why="Tools append to cards; a reader cannot tell which of the two holds.",
    check=check,
    severity="warning",
)
