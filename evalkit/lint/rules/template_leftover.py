"""Text of a template that nobody filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

# Source: the placeholders of huggingface_hub's and of transformers' model card templates.
_LEFT_OVER = re.compile(
    r"\{\{.{0,200}?\}\}|\{%.{0,200}?%\}|\[?More information needed\]?"
    r"|This model card has been generated automatically"
    r"|<!-- Provide a (?:quick|longer) summary|<!-- Address questions around how the model"
    r"|\[(?:insert|add|your) [a-z ]{3,40}\]|<(?:insert|your)[ _-][a-z _-]{3,40}>"
    r"|\blorem ipsum\b|\bTODO:",
    re.IGNORECASE,
)
_FILL_IN = "say what belongs here, or take the section out"
_TAKE_OUT = "read through what was generated, complete it, and take the comment out"
_INLINE_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")


def check(context: Context) -> Iterator[Finding]:
    """Every line of the prose that still shows a placeholder; in code, they are examples."""
    for line in context.card.prose:
        mark = _LEFT_OVER.search(_INLINE_CODE.sub(" ", line.text))
        if mark:
            yield Finding(
                line.number,
                "text of a template was left over",
                evidence=mark[0][:60],
                fix=_TAKE_OUT if "<!--" in line.text else _FILL_IN,
            )


RULE = Rule(
    code="EK501",
    name="template-leftover",
    summary="Placeholders and generator comments of a template are still in the text.",
    why="A reader cannot tell an empty section from a forgotten one.",
    check=check,
    severity="warning",
)
