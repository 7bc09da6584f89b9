"""What evalkit knows about methods, schemes and suites beside their code: names, papers, BibTeX."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from evalkit import resources

# Who reports a figure, as records name them, in words.
REPORTERS = {
    "": "others",
    "card": "the model's publisher",
    "official": "the leaderboard that ran it",
}


def method(name: str) -> Mapping[str, Any]:
    """`label`, `name`, and where known `self_play`, `arxiv`, `maths`, `bibtex` of a method."""
    plain = {"label": name.upper(), "name": name, "self_play": False, "arxiv": "", "maths": ""}
    return {**plain, **_known("methods").get(name, {})}


def scheme(name: str) -> Mapping[str, Any]:
    """`note` and `bibtex` of a quantization scheme, where known."""
    return {"note": "", **_known("schemes").get(name, {})}


def benchmark(name: str) -> Mapping[str, Any]:
    """`url`, `harness`, `harness_label` and `bibtex` of a suite, where known."""
    return _known("benchmarks").get(name, {})


@cache
def _known(file: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(resources.template(f"{file}.yaml"))
    return found
