"""The numbers in `.eval_results/*.yaml` beside a card."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from evalkit import frontmatter, resources
from evalkit.card_reading.numbers import number_of
from evalkit.verification.claims import Claim
from evalkit.verification.known import normalised

FOLDER = ".eval_results"


def claims_beside(folder: Path, names: Collection[str]) -> Iterator[Claim]:
    """Every value of the files, with its line; `names`: what known scores are called."""
    for file in sorted((folder / FOLDER).glob("*.yaml")):
        text = file.read_text("utf-8", errors="replace")
        try:
            entries = yaml.safe_load(text)
        except yaml.YAMLError:
            continue  # lint says so
        lines = frontmatter.lines_of(text)
        for at, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, Mapping):
                line = lines.get((at, "value"), lines.get((at,), 0)) + 1
                yield from _claim(entry, f"{FOLDER}/{file.name}", line, names)


def _claim(
    entry: Mapping[str, Any], file: str, line: int, names: Collection[str]
) -> Iterator[Claim]:
    written = number_of(str(entry.get("value")))
    dataset = entry.get("dataset")
    if written is None or not isinstance(dataset, Mapping):
        return
    called = str(dataset.get("id")), str(dataset.get("task_id"))
    known = (name for name in _scores().get(called, ()) if name in names)
    yield Claim(line, written.text, written.value, written.decimals, "", "", "",
                next(known, " ".join(called)), file=file)  # fmt: skip


@cache
def _scores() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """What the scores are called that a registered benchmark may hold, by data set and task."""
    data = yaml.safe_load(resources.template("registered_benchmarks.yaml"))
    return {
        (one["dataset"], one["task_id"]): tuple(
            normalised(f"{score['task']}: {score['metric']}") for score in one["scores"]
        )
        for one in data
    }
