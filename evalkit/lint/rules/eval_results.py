"""Files of `.eval_results/` that the Hub would skip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from evalkit import card_schema, frontmatter
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

FOLDER = ".eval_results"


def check(context: Context) -> Iterator[Finding]:
    """Every fault of every file, which stand beside the card: line 0, with file and line told."""
    for path in sorted(context.files or ()):
        place = PurePosixPath(path)
        if (
            context.folder is None
            or place.parts[0] != FOLDER
            or place.suffix not in (".yaml", ".yml")
        ):
            continue
        try:
            text = (context.folder / path).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            yield Finding(0, f"{path} is not UTF-8 text", fix="write it again")
            continue
        lines = frontmatter.lines_of(text)
        for fault in card_schema.check_eval_results(text):
            line = fault.line if fault.line is not None else lines.get(fault.path, 0)
            what = f"{fault.where}: " if fault.path else ""
            message = f"{path}:{line + 1}  {what}{fault.message}"
            yield Finding(0, message, fix=fault.fix, severity=fault.severity)


RULE = Rule(
    code="EK111",
    name="eval-results",
    summary="A file of .eval_results/ is not as the Hub wants it.",
    why="The Hub skips such a file without a word to readers: its results are not shown.",
    check=check,
)
