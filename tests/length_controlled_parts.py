"""Recorded AlpacaEval judgements and auxiliary data, as the tests of length control read them."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalkit.metrics.alpaca_eval_data import HUB_DATASET, HUB_FILE, Auxiliary, Gamed
from evalkit.metrics.length_controlled import Judged

MODELS = (
    "FuseChat-Gemma-2-9B-Instruct", "FuseChat-Llama-3.1-8B-Instruct", "NullModel",
    "OpenHermes-2.5-Mistral-7B", "claude-2.1_concise", "gemma-2b-it", "gemma-7b-it",
    "openbuddy-llama-30b-v7.1", "phi-2-sft", "phi-2", "vicuna-13b-v1.5",
)  # fmt: skip
BASELINE = "gpt4_1106_preview"


def table(file: Path) -> dict[str, dict[str, str]]:
    """Rows of a CSV file by their first column."""
    with file.open() as lines:
        return {next(iter(row.values())): row for row in csv.DictReader(lines)}


def rows(file: Path) -> list[dict[str, Any]]:
    """Objects of a compressed file of JSON lines."""
    with gzip.open(file, "rt") as lines:
        return [json.loads(line) for line in lines]


def judged(found: list[dict[str, Any]]) -> Judged:
    """What is recorded of a model."""
    return Judged(
        [row["preference"] for row in found],
        [row["len_model"] for row in found],
        [row["len_reference"] for row in found],
        [row["instruction_id"] for row in found],
    )


def made_up(seed: int, n: int = 120) -> tuple[Judged, Auxiliary]:
    """A model and auxiliary data that nobody recorded."""
    generator = np.random.default_rng(seed)
    ours, theirs = generator.integers(20, 2000, (2, n))
    difficulty_N = generator.normal(0, 2, n)
    gap_N = np.tanh((theirs - ours) / (theirs - ours).std(ddof=1))
    p_N = 1 / (1 + np.exp(gap_N - 0.5 * difficulty_N + generator.normal(0, 1)))
    preferences = 1 + np.clip(p_N + generator.normal(0, 0.2, n), 0, 1)
    t_N, d_N = np.tanh(generator.normal(0, 1, 2 * n)), np.tile(difficulty_N, 2)
    won_N = generator.random(2 * n)
    auxiliary = Auxiliary(difficulty_N, Gamed(t_N, d_N, won_N), {"made up": "nowhere"})
    return Judged(preferences.tolist(), ours.tolist(), theirs.tolist()), auxiliary


def prefetch(content: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts contents of the Hub's auxiliary file where huggingface_hub would leave them."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    repository = cache / f"datasets--{HUB_DATASET.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    (snapshot / HUB_FILE).write_text(content)
    return snapshot / HUB_FILE
