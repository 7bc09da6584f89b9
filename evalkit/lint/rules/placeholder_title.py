"""A title, or a model's name in the metadata, that a tool has put there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

# Source: the defaults of mergekit ("merge"), transformers' Trainer and TRL (the output folder's
# name), huggingface_hub's template ("Model Card for Model ID"), and common names of such folders.
_DEFAULT = re.compile(
    r"(?:model card for )?(?:model[ _-]?id|model[ _-]?name|my[ _-]?(?:awesome[ _-]?)?model|model)"
    r"|merged?(?:[ _-]?(?:model|output))?|(?:trainer[ _-]?)?out(?:puts?)?|output[ _-]?dir|results?"
    r"|checkpoints?(?:[ _-]?\d+)?|tmp\w*|temp|test(?:ing)?|untitled|readme|runs?[ _-]?\d*|final"
    r"|(?:sft|dpo|lora|peft|adapter)[ _-]?(?:output|outputs|results?|model)",
    re.IGNORECASE,
)
_PATH = re.compile(r"(?:\.{1,2}/|~/|/|[A-Za-z]:\\).+|.*/checkpoint-\d+/?")


def check(context: Context) -> Iterator[Finding]:
    """Names in `model-index`, and the first heading."""
    for name in context.subject.names:
        if name.line and (_DEFAULT.fullmatch(name.text) or _PATH.fullmatch(name.text)):
            yield Finding(
                name.line,
                f"the model is called '{name.text}', which a tool or a folder was called",
                evidence=name.text,
                fix="give it the name that it is published under",
            )


RULE = Rule(
    code="EK409",
    name="placeholder-title",
    summary="The title is a template's default, or the name of an output folder.",
    why="Nobody can find or cite a model that is called 'merge'.",
    check=check,
    severity="warning",
)
