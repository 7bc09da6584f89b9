"""Reads anybody's card and says what is wrong with it, offline and without judging its claims."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from evalkit import frontmatter
from evalkit.errors import CardError

CARD_FILE = "README.md"
# Source: hub-docs, modelcard.md (November 2026), with the community's `quantized_by`.
KNOWN_KEYS = (
    "language", "license", "license_name", "license_link", "library_name", "pipeline_tag", "tags",
    "datasets", "metrics", "base_model", "base_model_relation", "new_version", "quantized_by",
    "inference", "widget", "thumbnail", "co2_eq_emissions", "model-index", "extra_gated_prompt",
    "extra_gated_fields", "extra_gated_heading", "extra_gated_button_content", "model_name",
)  # fmt: skip
RELATIONS = ("finetune", "adapter", "merge", "quantized")
_LEFT_OVER = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\[More Information Needed\]")
# Source: CommonMark 0.31, section 4.5: a fence is closed by one of its kind, at least as long.
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$")


@dataclass(frozen=True)
class Finding:
    """One thing wrong: where (line of the file, 0 for the whole of it), what, and what to do."""

    line: int
    severity: Literal["error", "warning"]
    message: str
    hint: str = ""


def lint_file(path: Path) -> list[Finding]:
    """Findings of a card, or of the README.md of a folder, in line order.

    Raises:
        CardError: there is no such file, or it is not text.
    """
    file = path / CARD_FILE if path.is_dir() else path
    try:
        return lint(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CardError(f"cannot read {file}: {why}", "give a card or a folder with one") from None


def lint(text: str) -> list[Finding]:
    """Findings of a card's text, in line order."""
    if frontmatter.split(text)[0] is None:
        return [
            Finding(1, "warning", "the card has no front matter", "begin it with a block of ---")
        ]
    try:
        metadata = frontmatter.parse(text).metadata
    except CardError as error:
        return [Finding(1, "error", error.message, error.hint)]
    found = [*_front_matter(metadata, text), *_results(metadata, text), *_left_over(text)]
    return sorted(found, key=lambda finding: finding.line)


def _front_matter(metadata: Mapping[Any, Any], text: str) -> Iterator[Finding]:
    for key in metadata:
        near = get_close_matches(str(key), KNOWN_KEYS, n=1, cutoff=0.75)
        if key not in KNOWN_KEYS and near:
            line = _line_of(text, str(key))
            yield Finding(line, "error", f"the key '{key}' means nothing", f"write '{near[0]}'")
    for fault in frontmatter.wrong_types(metadata):
        yield Finding(_line_of(text, fault.split()[0]), "error", fault)
    if "license" not in metadata:
        yield Finding(1, "warning", "the card names no licence", "add license: with its Hub id")
    if metadata.get("license") == "other" and not metadata.get("license_name"):
        line = _line_of(text, "license")
        yield Finding(line, "error", "licence 'other' without license_name and license_link")
    relation = metadata.get("base_model_relation")
    if relation is not None and relation not in RELATIONS:
        line = _line_of(text, "base_model_relation")
        hint = f"one of {', '.join(RELATIONS)}"
        yield Finding(line, "error", f"no relation is called '{relation}'", hint)


def _results(metadata: Mapping[Any, Any], text: str) -> Iterator[Finding]:
    line = _line_of(text, "model-index")
    entries = metadata.get("model-index")
    for entry in entries if isinstance(entries, list) else ():
        results = entry.get("results") if isinstance(entry, Mapping) else None
        if not isinstance(results, list):
            yield Finding(line, "error", "a model-index entry has no list of results")
            continue
        for result in results:
            for fault in _result_faults(result):
                yield Finding(line, "error", f"model-index: {fault}")


def _result_faults(result: Any) -> Iterator[str]:
    if not isinstance(result, Mapping):
        yield "a result is not a mapping"
        return
    for part, keys in (("task", ("type",)), ("dataset", ("type", "name"))):
        section = result.get(part)
        if not isinstance(section, Mapping) or any(key not in section for key in keys):
            yield f"a result's {part} lacks {' or '.join(keys)}"
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        yield "a result has no list of metrics"
        return
    for metric in metrics:
        if isinstance(metric, Mapping) and "type" not in metric:
            yield "a metric lacks type"
        value = metric.get("value") if isinstance(metric, Mapping) else None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            yield f"a metric's value is no finite number: {value!r}"


def _left_over(text: str) -> Iterator[Finding]:
    fence = ""  # what opened the code block that a line stands in
    for number, line in enumerate(text.splitlines(), start=1):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
        match = None if fence else _LEFT_OVER.search(line)
        if match:
            yield Finding(number, "warning", f"text of a template was left over: {match[0][:40]}")


def _line_of(text: str, key: str) -> int:
    pattern = re.compile(rf"^['\"]?{re.escape(key)}['\"]?\s*:")
    lines = enumerate(text.splitlines(), start=1)
    return next((number for number, line in lines if pattern.match(line)), 1)
